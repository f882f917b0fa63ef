import sqlite3
from dataclasses import replace

import pytest

from ethos.store.database import Database
from ethos.store.stages import Stages, Status


@pytest.fixture
def stages(database: Database) -> Stages:
    return Stages(database)


def test_a_stage_counts_as_finished_for_the_same_inputs_only(stages: Stages) -> None:
    assert stages.finished("scenarios", "d1") is None
    stages.begin("scenarios", "d1")
    assert stages.finished("scenarios", "d1") is None
    stages.finish("scenarios", {"file": "x", "count": 3})
    done = stages.finished("scenarios", "d1")
    assert done is not None
    assert done.payload == {"file": "x", "count": 3}
    assert done.started <= done.finished
    assert stages.finished("scenarios", "d2") is None


def test_a_stage_that_begins_again_is_unfinished(stages: Stages) -> None:
    stages.begin("rows", "d1")
    stages.finish("rows", None)
    assert stages.finished("rows", "d1") is not None
    stages.begin("rows", "d1")
    assert stages.finished("rows", "d1") is None


def test_a_stage_that_never_began_can_not_finish(stages: Stages) -> None:
    with pytest.raises(RuntimeError, match="never begun"):
        stages.finish("rows", {})


def test_a_stage_that_is_repeated_counts_its_rejections_once(stages: Stages) -> None:
    stages.set_counts("demonstrations", {"check: max_words": 4, "hollow": 1})
    stages.set_counts("demonstrations", {"check: max_words": 5})
    stages.set_counts("documents", {"hollow": 2, "check: max_words": 1})
    assert stages.counts("demonstrations") == {"check: max_words": 5}
    assert stages.counts() == {"check: max_words": 6, "hollow": 2}


def test_there_is_one_status_the_latest(stages: Stages) -> None:
    assert stages.status() is None
    first = Status("running", "training", 3, 120, "")
    stages.set_status(first)
    stages.set_status(replace(first, state="paused", done=4, total=None))
    status = stages.status()
    assert status is not None
    assert status.updated
    assert replace(status, updated="") == Status("paused", "training", 4, None, "")


def test_a_state_that_is_none_is_refused(stages: Stages) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        stages.set_status(Status("dreaming", "", 0, 0, ""))  # type: ignore[arg-type]


def test_notices_are_kept_by_kind_and_once(stages: Stages) -> None:
    for kind, text in (("warning", "b"), ("failure", "x"), ("warning", "a"), ("warning", "b")):
        stages.add_notice(kind, text)  # type: ignore[arg-type]
    assert (stages.notices("warning"), stages.notices("failure")) == (["b", "a"], ["x"])


def test_the_time_of_all_sittings_is_added_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status("running", "rows", 0, None, "")
    seconds = iter([100.0, 103.0, 110.0, 500.0, 501.5])
    monkeypatch.setattr("ethos.store.stages.time.monotonic", lambda: next(seconds))
    first = Stages(database)
    first.begin_sitting()
    started = first.started()
    first.set_status(status)
    first.set_status(status)
    second = Stages(database)
    second.begin_sitting()
    second.set_status(status)
    assert (second.seconds(), second.started()) == (11.5, started)
