"""`ethos journal`: what changed in a run, when, by whom and why."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ethos.cli.lookup import find_run
from ethos.cli.output import columns
from ethos.progress import harmless
from ethos.store.canonical import canonical_json
from ethos.store.config.run import load_config
from ethos.store.journal import Entry, Journal

HEADINGS = ("entry", "step", "when", "branch", "what", "by", "why")


def show_journal(name: str, *, verify: bool, as_json: bool) -> None:
    """Prints all entries; with `verify`, checks the chain of hashes first. EthosError if it is broken."""
    run = find_run(name)
    config = load_config(run.config_path)
    with run.read_database() as database:
        journal = Journal(database, run.name, config.knobs)
        if verify:
            journal.verify()
        entries = journal.entries()
    if as_json:
        for entry in entries:
            typer.echo(canonical_json(asdict(entry)))
        return
    if entries:
        typer.echo(columns([HEADINGS, *(_cells(entry) for entry in entries)]))
    else:
        typer.echo(f"{run.path}: nothing was changed since its launch")
    if verify:
        typer.echo(f"verified: {len(entries)} entries, all as they were written")


def describe(entry: Entry) -> str:
    """`lr 0.0001 → 5e-05`, or the name of what happened."""
    if entry.kind == "knob":
        return f"{entry.name} {entry.old} → {entry.new}"
    return harmless(entry.name)


def _cells(entry: Entry) -> tuple[str, ...]:
    why = " ".join(harmless(entry.reason).split())
    when = f"{entry.created[:19].replace('T', ' ')}Z"
    author = f"{harmless(entry.author)} ({entry.origin})"
    return str(entry.sequence), str(entry.step), when, entry.branch, describe(entry), author, why
