"""Rows on disk: immutable Parquet files, named by a hash of the rows in them.

The hash is over the rows, not over the file's bytes: it doesn't depend on the version of Parquet's writer,
and a file whose content has changed is found out when it is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.store.canonical import canonical_json, digest
from ethos.store.files import write_atomically
from ethos.store.rows import (
    DemonstrationRow,
    DocumentRow,
    PreferenceRow,
    Row,
    TaskRow,
    row_from_dict,
    row_to_dict,
)
from ethos.store.run_directory import RunDirectory

_HASH_DIGITS = 12
_REMOVE = "remove it and run again: answered calls come from the cache"
_FILTER_COLUMNS = ("clause_ids", "recipe", "capability_source")


def write_rows(run: RunDirectory, kind: str, rows: Sequence[Row]) -> tuple[Path, str]:
    """Writes `rows/<kind>-<hash>.parquet` and returns its path and the rows' whole hash (64 hex digits).

    Columns: id, kind, the content (text and title, or messages as chats are usually stored, …), clause_ids,
    recipe and capability_source to filter by, and lineage as JSON. A file that is there stays as it is.

    Raises:
        EthosError: if there are no rows.
    """
    import pyarrow
    import pyarrow.parquet

    if not rows:
        raise EthosError(
            f"{run.path}: there are no {kind} rows to write; look at the counts of what was rejected, and why"
        )
    if any(row.kind != kind for row in rows):
        raise ValueError(f"all rows of a {kind} file are of that kind")
    described = [row_to_dict(row) for row in rows]
    rows_hash = digest(described)
    path = run.rows / f"{kind}-{rows_hash[:_HASH_DIGITS]}.parquet"
    if not path.exists():
        table = pyarrow.Table.from_pylist([_to_record(row) for row in described], schema=_arrow_schema(kind))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, compression="zstd")
        write_atomically(path, buffer.getvalue())
    return path, rows_hash


def has_rows(run: RunDirectory, files: Mapping[str, str]) -> bool:
    """Whether all files of rows are there, given their names by kind. Whether they are whole, `read_rows` tells."""
    return all((run.rows / name).is_file() for name in files.values())


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that `write_rows` wrote, in order.

    Raises:
        EthosError: if the file is missing or damaged, or its rows are not those it is named after.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
        described = [_from_record(record) for record in records]
        rows = [row_from_dict(row) for row in described]
    except FileNotFoundError as error:
        raise EthosError(f"{path}: there is no such file of rows; run again to write it") from error
    except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise EthosError(f"{path}: the file of rows is damaged; {_REMOVE}") from error
    if not path.stem.endswith(f"-{digest(described)[:_HASH_DIGITS]}"):
        raise EthosError(f"{path}: the rows are not those the file is named after; {_REMOVE}")
    return rows


def _to_record(row: dict[str, Any]) -> dict[str, Any]:
    lineage = row["lineage"]
    return {**row, **{name: lineage[name] for name in _FILTER_COLUMNS}, "lineage": canonical_json(lineage)}


def _from_record(record: dict[str, Any]) -> dict[str, Any]:
    content = {name: value for name, value in record.items() if name not in _FILTER_COLUMNS}
    return {**content, "lineage": json.loads(record["lineage"])}


def _arrow_schema(kind: str) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    messages = pa.list_(pa.struct([("role", text), ("content", text)]))
    compared = [("chosen", text), ("rejected", text), ("probability", number), ("margin", number)]
    content = {
        DocumentRow.kind: [("text", text), ("title", text)],
        DemonstrationRow.kind: [("messages", messages)],
        PreferenceRow.kind: [("prompt", messages), *compared],
        TaskRow.kind: [("prompt", messages), ("answer", text), ("teacher_prompt", messages)],
    }[kind]
    filters = [("clause_ids", pa.list_(text)), ("recipe", text), ("capability_source", text)]
    return pa.schema([("id", text), ("kind", text), *content, *filters, ("lineage", text)])
