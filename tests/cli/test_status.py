import os

import pytest
from tests.cli.conftest import Ethos, training

from ethos.store.journal import MAIN
from ethos.store.records import Records
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages, State, Status


def set_status(run: RunDirectory, state: State) -> None:
    with run.lock(), run.open_database() as database:
        Stages(database).set_status(Status(state, "training", 40, 100, ""))
        Records(database).add_metrics(MAIN, 40, {"loss.documents": 2.34567, "seconds": 1.0})


def line_of(text: str, name: str) -> str:
    return next(line[len(name) :].strip() for line in text.splitlines() if line.split()[0] == name)


def test_status_tells_stage_step_losses_and_changed_knobs(ethos: Ethos, stopped_run: RunDirectory) -> None:
    set_status(stopped_run, "running")
    ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    shown = ethos("status", "wren").out
    assert line_of(shown, "stage") == "training, 40 of 100"
    assert line_of(shown, "step") == "40 of 100"
    assert line_of(shown, "loss.documents") == "2.346"
    assert line_of(shown, "lr") == "5e-05 (launched with 0.0001)"
    assert line_of(shown, "clip") == "1"


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_killed_run_is_never_shown_as_running(ethos: Ethos, stopped_run: RunDirectory, state: State) -> None:
    set_status(stopped_run, state)
    assert line_of(ethos("status", "wren").out, "state").startswith("stopped before its end")
    with training(stopped_run, step=41):
        assert line_of(ethos("status", "wren").out, "state") == f"{state} (process {os.getpid()})"


@pytest.mark.parametrize("state", ["done", "failed", "stopped"])
def test_an_ended_run_is_shown_as_it_ended(ethos: Ethos, stopped_run: RunDirectory, state: State) -> None:
    set_status(stopped_run, state)
    assert line_of(ethos("status", "wren").out, "state") == state


def test_a_run_without_a_status_is_not_started_or_starting(ethos: Ethos, stopped_run: RunDirectory) -> None:
    assert line_of(ethos("status", "wren").out, "state") == "not started"
    with training(stopped_run, step=1):
        assert line_of(ethos("status", "wren").out, "state").startswith("starting")
