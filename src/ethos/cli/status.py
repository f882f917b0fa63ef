"""`ethos status`: where a run is, and what is in force."""

from __future__ import annotations

import typer

from ethos.cli.lookup import find_run
from ethos.cli.output import columns
from ethos.progress import harmless
from ethos.runs.controls import next_step
from ethos.store.config.run import load_config
from ethos.store.journal import MAIN, Journal
from ethos.store.knobs import knob_values
from ethos.store.records import WATCHED, Records
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages, Status


def show_status(name: str) -> None:
    """Prints state, stage, step, the latest losses and the knobs, with what each was launched with."""
    run = find_run(name)
    config = load_config(run.config_path)
    with run.read_database() as database:
        status = Stages(database).status()
        knobs = Journal(database, run.name, config.knobs).knobs(MAIN, config.training.steps)
        records = Records(database)
        step = next_step(records, config.training.steps) - 1
        metrics = records.metrics_at(MAIN, step) or records.metrics_at(
            MAIN, step - 1
        )  # a drawn step may not be trained
    facts = [("run", str(run.path)), ("state", _state(run, status))]
    if status is not None:
        whole = "" if status.total is None else f" of {status.total}"
        stage = [("stage", f"{status.stage}, {status.done}{whole}")] if status.stage else []
        message = [("message", harmless(status.message))] if status.message else []
        facts += [*stage, *message, ("updated", status.updated)]
    facts.append(("step", f"{step} of {config.training.steps}"))
    facts += [(metric, f"{value:.4g}") for metric, value in metrics.items() if metric.startswith(WATCHED)]
    before = knob_values(config.knobs)
    for path, now in knob_values(knobs).items():
        facts.append((path, f"{now:g}" if now == before[path] else f"{now:g} (launched with {before[path]:g})"))
    typer.echo(columns(facts))


def _state(run: RunDirectory, status: Status | None) -> str:
    """What the status says, unless nobody is at work: a killed run couldn't correct it."""
    holder = run.holder()
    if holder is not None:
        state = "starting" if status is None else status.state
        return f"{state} (process {holder.pid})"
    if status is None:
        return "not started"
    if status.state in ("running", "paused"):
        return "stopped before its end; `ethos run` with its config goes on"
    return status.state
