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
    ui = progress_for()
    directory = local_directory(resolve(name, Path.cwd()), ui)
    ui.line(f"{name}: ready in {directory}")
