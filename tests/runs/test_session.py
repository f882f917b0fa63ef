"""A sitting takes the run as it was launched, or says why it can't."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.judging.labelled import CalibrationReply
from ethos.progress import QuietProgress
from ethos.runs.session import open_session
from ethos.spec.parse import parse_spec
from ethos.spec.types import Json
from ethos.store.budget import BudgetSpent
from ethos.store.config.run import load_config
from ethos.store.ledger import ModelCall
from runs.training_run import session_in


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_second_launch_takes_the_run_as_it_is(folder: Path) -> None:
    with session_in(folder) as session:
        session.records.add_metrics("main", 1, {"lr": 0.5})
    with session_in(folder) as session:
        assert session.records.metrics_at("main", 1) == {"lr": 0.5}


def test_the_config_on_disk_is_the_config_as_launched(folder: Path) -> None:
    with session_in(folder) as session:
        assert load_config(session.run.config_path).training == session.config.training


def test_what_has_changed_since_the_last_sitting_is_known(folder: Path) -> None:
    told = []
    for kind in ("b1", "b1", "b2", "b2", "b1"):
        with session_in(folder) as session:
            told.append(session.changed_since_last_sitting("rewards", {"short": "a1", "kind": kind}))
    assert told == [[], [], ["kind b1 → b2"], [], ["kind b2 → b1"]]


def test_another_config_is_refused(folder: Path) -> None:
    with session_in(folder):
        pass
    change(folder / "config.yaml", "lr: 0.003", "lr: 0.002")
    with pytest.raises(EthosError, match="exists with another config"), session_in(folder):
        pass


def test_a_spec_that_has_changed_is_refused(folder: Path) -> None:
    with session_in(folder):
        pass
    change(folder / "spec.md", "ten words", "eleven words")
    with (
        pytest.raises(EthosError, match=r"the spec changed after this run was launched.*give the run another name"),
        session_in(folder),
    ):
        pass


def test_a_calibration_that_has_changed_is_refused(folder: Path) -> None:
    """Its verdicts rest on cuts that the old replies gave."""
    config = load_config(folder / "config.yaml")
    spec, reply = parse_spec(config.spec), CalibrationReply("short", "How much?", "It is 7.", good=True)
    with open_session(config, spec, folder / "runs", QuietProgress(), [reply]):
        pass
    with open_session(config, spec, folder / "runs", QuietProgress(), [reply]) as session:
        assert session.labelled == (reply,)
    other = replace(reply, good=False)
    refused = open_session(config, spec, folder / "runs", QuietProgress(), [other])
    with pytest.raises(EthosError, match="the calibration changed after this run was launched"), refused:
        pass


def test_a_run_that_is_held_says_so(folder: Path) -> None:
    with session_in(folder) as session:
        session.report_status("running", "rows")
        assert session.stages.status().state == "running"  # type: ignore[union-attr]
        session.gate.clear()
        session.report_status("running", "rows")
        assert session.stages.status().state == "paused"  # type: ignore[union-attr]


def test_what_the_student_answers_is_not_charged(folder: Path) -> None:
    with (folder / "config.yaml").open("a") as file:
        file.write("budget: {tokens: 100}\n")
    with session_in(folder) as session:
        session.ledger.add([ModelCall("student", "t", "", 900, 90, False, 0.0, "k")])
    with session_in(folder) as session:
        asyncio.run(session.budget.reserve(20, 0.0))


def test_a_run_that_is_at_work_is_refused(folder: Path) -> None:
    with session_in(folder), pytest.raises(EthosError, match="is being written by"), session_in(folder):
        pass


def test_what_was_spent_in_earlier_sittings_counts_against_the_budget(folder: Path) -> None:
    with (folder / "config.yaml").open("a") as file:
        file.write("budget: {tokens: 100}\n")
    with session_in(folder) as session:
        session.ledger.add([ModelCall("teacher", "t", "", 60, 30, False, 0.0, "k")])
    with session_in(folder) as session, pytest.raises(BudgetSpent):
        asyncio.run(session.budget.reserve(20, 0.0))


def test_what_a_stage_leaves_behind_has_one_order_whoever_reads_it(folder: Path) -> None:
    """Intervals are resampled in that order, so that a run in two sittings reports those of a run in one."""

    async def make() -> Json:
        return {"whole": 1, "frame": 2}

    with session_in(folder) as session:
        first, again = (asyncio.run(session.once("variants", None, make)) for _ in range(2))
    assert list(first) == list(again)


def test_a_stage_counts_as_finished_while_what_it_left_behind_is_there(folder: Path) -> None:
    made, there = list[str](), {"rows-a"}

    async def make() -> Json:
        made.append("rows-a")
        return "rows-a"

    with session_in(folder) as session:
        for _ in range(2):
            assert asyncio.run(session.once("rows", None, make, there.__contains__)) == "rows-a"
        assert len(made) == 1
        there.clear()
        assert asyncio.run(session.once("rows", None, make, there.__contains__)) == "rows-a"
        assert len(made) == 2


def test_a_run_goes_on_where_its_folder_was_moved_to(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with session_in(folder) as session:
        session.records.add_metrics("main", 1, {"lr": 0.5})
        launched = session.run.config_path.read_bytes()
    moved = shutil.move(folder, tmp_path_factory.mktemp("elsewhere") / "moved")
    with session_in(moved) as session:
        assert session.records.metrics_at("main", 1) == {"lr": 0.5}
        assert session.config.spec == moved / "spec.md"
        assert session.run.config_path.read_bytes() == launched
    change(moved / "config.yaml", "lr: 0.003", "lr: 0.002")
    with pytest.raises(EthosError, match="exists with another config"), session_in(moved):
        pass


def test_a_spec_that_is_called_otherwise_is_refused_where_its_file_gives_its_name(folder: Path) -> None:
    for name in ("spec.md", "other.md"):
        (folder / name).write_text("It answers in at most ten words.\n")
    with session_in(folder):
        pass
    change(folder / "config.yaml", "spec: spec.md", "spec: other.md")
    with pytest.raises(EthosError, match="the spec changed after this run was launched"), session_in(folder):
        pass
