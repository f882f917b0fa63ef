"""`ethos models`: which models there are, and bringing one onto this machine."""

from __future__ import annotations

from pathlib import Path

import typer

from ethos.cli.output import columns
from ethos.models.catalogue import FORMS, resolve
from ethos.models.embedded import EMBEDDED
from ethos.models.local import local_directory
from ethos.progress import progress_for

_MB = 1_000_000


def show_models() -> None:
    """Prints the embedded models, then the other forms of names."""
    rows = [
        (f"embedded:{name}", f"{weights.size_bytes / _MB:,.0f} MB", weights.licence, weights.sha256[:12])
        for name, weights in EMBEDDED.items()
    ]
    typer.echo(columns([("model", "download", "licence", "sha256"), *rows]))
    typer.echo(f"\nForms of names: {FORMS}")


def fetch(name: str) -> None:
    """Fetches, verifies and converts a model's weights; says where they lie. EthosError if they can't be had."""
    entry = resolve(name, Path.cwd())
    ui = progress_for()
    total = entry.download_bytes
    with ui.stage(f"fetching {name}", None if total is None else total // _MB, "MB") as bar:
        directory = local_directory(entry, lambda done, _: bar.advance(done // _MB - bar.done))
    ui.line(f"{name}: ready in {directory}")
