"""`ethos adjust`, `pause` and `resume`: requests to a run, and their answers.

A running run answers at its next boundary. For a stopped one the command takes the lock and does the same itself.
"""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

import typer

from ethos.cli.journal import describe
from ethos.cli.lookup import find_run
from ethos.errors import EthosError
from ethos.runs.controls import Controls, next_step
from ethos.store.config.run import RunConfig, load_config
from ethos.store.journal import MAIN, Journal
from ethos.store.knobs import Number, apply_change, parse_change
from ethos.store.records import Records
from ethos.store.requests import file_request, wait_for_answer
from ethos.store.run_directory import LockTaken, RunDirectory
from ethos.store.stages import Stages

ANSWER_WITHIN_S = 15.0
_POLL_S = 0.5


def adjust(name: str, changes: Sequence[str], why: str, author: str) -> None:
    """Changes knobs from the next step on, and prints what was entered. EthosError if the run refuses."""
    run = find_run(name)
    reason, author = _reason(why), _author(author)
    config = load_config(run.config_path)
    parsed = _parse_all(changes)
    _require_allowed(run, config, parsed)
    _ask(run, config, file_request(run, "adjust", {"changes": dict(parsed)}, author, reason))


def hold(name: str, kind: Literal["pause", "resume"], why: str, author: str) -> None:
    """Pauses or resumes a run; one that isn't running now is so once it runs. EthosError if it refuses."""
    run = find_run(name)
    reason, author = _reason(why), _author(author)
    config = load_config(run.config_path)
    with run.read_database() as database:
        status = Stages(database).status()
    if run.holder() is None and status is not None and status.state == "done":
        raise EthosError(f"{run.path}: has its report, so there is nothing to {kind}; start a run of another name")
    _ask(run, config, file_request(run, kind, {}, author, reason))


def _parse_all(changes: Sequence[str]) -> dict[str, Number]:
    parsed: dict[str, Number] = {}
    for change in changes:
        path, value = parse_change(change)
        if path in parsed:
            raise EthosError(f"{path} is given twice; give each knob one value")
        parsed[path] = value
    return parsed


def _require_allowed(run: RunDirectory, config: RunConfig, changes: dict[str, Number]) -> None:
    """Raises EthosError before anything is filed, if the run would refuse."""
    with run.read_database() as database:
        step = _next_step(run, Records(database), config)
        knobs = Journal(database, run.name, config.knobs).knobs(MAIN, step)
    for path, value in changes.items():
        knobs = apply_change(knobs, path, value)


def _apply(run: RunDirectory, config: RunConfig) -> None:
    """Takes up all that waits, oldest first, as the run itself would."""
    with run.lock(), run.open_database() as database:
        journal, records, stages = Journal(database, run.name, config.knobs), Records(database), Stages(database)
        controls = Controls(run, journal, records, stages, MAIN, config.training.steps, asyncio.Event())
        controls.restore()
        controls.take_pending()


def _ask(run: RunDirectory, config: RunConfig, request_id: str) -> None:
    """Waits for the run's answer, or gives it if nobody runs it, and reports it."""
    given, deadline = None, time.monotonic() + ANSWER_WITHIN_S
    while given is None and time.monotonic() < deadline:
        if run.holder() is None:
            with suppress(LockTaken):  # by a run that starts, or by a command like this one, which may take this up
                _apply(run, config)
        given = wait_for_answer(run, request_id, _POLL_S)
    if given is None:
        typer.echo(f"asked, and not answered within {ANSWER_WITHIN_S:.0f} s: it takes effect before the next step;")
        typer.echo(f"see `ethos journal {run.path}` later")
        return
    if given.outcome == "refused":
        raise EthosError(f"{run.path} refused: {given.message}")
    with run.read_database() as database:
        entries = Journal(database, run.name, config.knobs).entries(since=(given.sequence or 1) - 1)
    for entry in entries:
        if entry.request == request_id:
            typer.echo(f"from step {entry.step}: {describe(entry)} (journal entry {entry.sequence})")


def _next_step(run: RunDirectory, records: Records, config: RunConfig) -> int:
    if records.is_trained(MAIN, config.training.steps):
        raise EthosError(
            f"{run.path}: all of its {config.training.steps} steps are trained, so nothing would change; "
            "start a run of another name"
        )
    return next_step(records, config.training.steps)


def _reason(why: str) -> str:
    if not why.strip():
        raise EthosError('a change needs a reason for the journal; give it with --why "…"')
    return why.strip()


def _author(author: str) -> str:
    if author.strip():
        return author.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise EthosError("this machine doesn't tell your login name; say who asks with --author NAME") from error
