"""Finding rows of a run by the start of their id, for `ethos trace`."""

from __future__ import annotations

from collections.abc import Collection

from ethos.errors import EthosError
from ethos.store.parquet_rows import read_rows
from ethos.store.rows import Row
from ethos.store.run_directory import RunDirectory

_NAMED_AT_MOST = 3


def find_row(run: RunDirectory, row_id_prefix: str) -> Row:
    """The one row of the run whose id starts so; its lineage names clauses, calls and verdicts.

    Raises:
        EthosError: if no row's id starts so, if several do, or if a file of rows is damaged.
    """
    found = find_rows(run, row_id_prefix)
    if not found:
        raise EthosError(
            f"{run.path}: no row's id starts with '{row_id_prefix}'; the ids stand in the files of {run.rows}"
        )
    require_one(str(run.path), found, row_id_prefix)
    return next(iter(found.values()))


def find_rows(run: RunDirectory, row_id_prefix: str) -> dict[str, Row]:
    """All rows of the run whose ids start so, by id. Raises EthosError if a file of rows is damaged."""
    found: dict[str, Row] = {}
    for path in sorted(run.rows.glob("*.parquet")):
        found.update((row.id, row) for row in read_rows(path) if row.id.startswith(row_id_prefix))
    return found


def require_one(where: str, row_ids: Collection[str], row_id_prefix: str) -> None:
    """Raises EthosError, with the first ids, if several rows were found."""
    if len(row_ids) > 1:
        few = ", ".join(sorted(row_ids)[:_NAMED_AT_MOST])
        few += ", …" if len(row_ids) > _NAMED_AT_MOST else ""
        raise EthosError(f"{where}: {len(row_ids)} rows start with '{row_id_prefix}' ({few}); give more of the id")
