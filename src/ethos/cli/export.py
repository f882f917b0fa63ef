"""`ethos export`: a run's rows as a data set."""

from __future__ import annotations

from pathlib import Path

import typer

from ethos.cli.lookup import find_run
from ethos.runs.export import CARD, export_rows


def export(name: str, to: Path) -> None:
    """Writes the data set, and says what it holds. Raises EthosError as `export_rows`."""
    found = export_rows(find_run(name), to)
    for file, count in found.items():
        typer.echo(f"{to / file}.parquet: {count:,} rows")
    typer.echo(f"{to / CARD}: what they are; datasets.load_dataset({str(to)!r}, {next(iter(found))!r}) opens some")
