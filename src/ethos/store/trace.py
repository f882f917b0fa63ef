"""Finding a row of a run by the start of its id, for `ethos trace`."""

from __future__ import annotations

from ethos.errors import EthosError
from ethos.store.parquet_rows import read_rows
from ethos.store.rows import Row
from ethos.store.run_directory import RunDirectory


def find_row(run: RunDirectory, row_id_prefix: str) -> Row:
    """The one row of the run whose id starts so; its lineage names clauses, calls and verdicts.

    Raises:
        EthosError: if no row's id starts so, if several do, or if a file of rows is damaged.
    """
    found: dict[str, Row] = {}
    for path in sorted(run.rows.glob("*.parquet")):
        found.update((row.id, row) for row in read_rows(path) if row.id.startswith(row_id_prefix))
    if not found:
        raise EthosError(
            f"{run.path}: no row's id starts with '{row_id_prefix}'; the ids stand in the files of {run.rows}"
        )
    if len(found) > 1:
        few = ", ".join(sorted(found)[:3])
        raise EthosError(f"{run.path}: {len(found)} rows start with '{row_id_prefix}' ({few}, …); give more of the id")
    return next(iter(found.values()))
