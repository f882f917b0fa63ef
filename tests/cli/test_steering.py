import errno
import getpass
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.cli.conftest import STEPS, Ethos, draw_batches, training

from ethos.cli import steering
from ethos.runs.controls import next_step
from ethos.store.config.run import load_config
from ethos.store.journal import MAIN, Entry, Journal
from ethos.store.records import Records
from ethos.store.requests import file_request, read_answer
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages, Status


def entries_of(run: RunDirectory) -> list[Entry]:
    with run.read_database() as database:
        return Journal(database, run.name, load_config(run.config_path).knobs).entries()


def waiting_in(run: RunDirectory) -> list[Path]:
    return list(run.requests.glob("*.json"))


def test_adjusting_a_stopped_run_takes_effect_at_the_first_step_that_has_no_batch(
    ethos: Ethos, stopped_run: RunDirectory
) -> None:
    ended = ethos("adjust", "wren", "lr=5e-5", "mixture.documents=0.5", "--why", "too fast", "--author", "ada")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "from step 41: lr 0.0001 → 5e-05 (journal entry 1)",
        "from step 41: mixture.documents 1.0 → 0.5 (journal entry 2)",
    ]
    first, second = entries_of(stopped_run)
    assert (first.step, first.origin, first.author, first.reason) == (41, "person", "ada", "too fast")
    assert first.request == second.request
    assert waiting_in(stopped_run) == []


def test_the_change_is_in_force_from_its_step_and_not_before(ethos: Ethos, stopped_run: RunDirectory) -> None:
    ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    with stopped_run.read_database() as database:
        journal = Journal(database, "wren", load_config(stopped_run.config_path).knobs)
        assert [journal.knobs(MAIN, step).lr for step in (40, 41)] == [1e-4, 5e-5]


def test_the_author_is_the_login_name_unless_one_is_given(ethos: Ethos, stopped_run: RunDirectory) -> None:
    ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    assert entries_of(stopped_run)[0].author == getpass.getuser()


def test_what_a_stopped_run_was_asked_before_takes_effect_first(ethos: Ethos, stopped_run: RunDirectory) -> None:
    earlier = file_request(stopped_run, "adjust", {"changes": {"lr": 2e-5}}, "bob", "much too fast")
    assert ethos("adjust", "wren", "lr=5e-5", "--why", "too fast").code == 0
    given = read_answer(stopped_run, earlier)
    assert given is not None
    assert given.outcome == "applied"
    first, second = entries_of(stopped_run)
    assert (first.author, first.new, second.old, second.new) == ("bob", 2e-5, 2e-5, 5e-5)


def test_a_stopped_run_is_paused_and_resumed_before_it_goes_on(ethos: Ethos, stopped_run: RunDirectory) -> None:
    assert ethos("pause", "wren", "--why", "the machine is needed").out == "from step 41: pause (journal entry 1)\n"
    again = ethos("pause", "wren", "--why", "the machine is needed")
    assert "refused: the run is paused already" in again.err
    assert ethos("resume", "wren", "--why", "it is free").code == 0


def test_a_run_that_has_its_report_cannot_be_paused(ethos: Ethos, stopped_run: RunDirectory) -> None:
    with stopped_run.lock(), stopped_run.open_database() as database:
        Stages(database).set_status(Status("done", "", STEPS, STEPS, ""))
    ended = ethos("pause", "wren", "--why", "lunch")
    assert ended.code == 1
    assert "has its report, so there is nothing to pause" in ended.err
    assert entries_of(stopped_run) == []


def test_a_running_run_answers_with_the_entry(ethos: Ethos, stopped_run: RunDirectory) -> None:
    with training(stopped_run, step=41):
        ended = ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    assert (ended.code, ended.out) == (0, "from step 41: lr 0.0001 → 5e-05 (journal entry 1)\n"), ended.err


def test_a_running_run_is_paused_and_resumed(ethos: Ethos, stopped_run: RunDirectory) -> None:
    with training(stopped_run, step=41):
        paused = ethos("pause", "wren", "--why", "lunch")
        again = ethos("pause", "wren", "--why", "lunch")
        resumed = ethos("resume", "wren", "--why", "back")
    assert (paused.code, paused.out) == (0, "from step 41: pause (journal entry 1)\n"), paused.err
    assert again.code == 1
    assert "refused: the run is paused already" in again.err
    assert (resumed.code, resumed.out) == (0, "from step 41: resume (journal entry 2)\n"), resumed.err


def test_a_run_that_one_may_only_read_is_one_sentence(
    ethos: Ethos, stopped_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)  # whoever tests as root may write anywhere
    ended = ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    assert ended.code == 1
    assert ended.err.startswith("error: runs/wren/requests/")
    assert ended.err.count("\n") == 1
    assert "Permission denied; get the permission" in ended.err


def test_an_answer_that_does_not_come_in_time_is_no_error(
    ethos: Ethos, stopped_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "ANSWER_WITHIN_S", 0.0)
    with RunDirectory(stopped_run.path).lock():
        ended = ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    assert ended.code == 0
    assert "before the next step" in ended.out
    assert len(waiting_in(stopped_run)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lr=1"], "lr is 1.0, out of its bounds; give a number from 0 to 0.01"),
        (["lr=nan"], "lr is nan, out of its bounds"),
        (["lr=fast"], "lr can't be fast; give a number"),
        (["lr"], "'lr' is no change of a knob; write NAME=VALUE"),
        (["lrr=1"], "there is no knob named lrr; did you mean lr?"),
        (["batch_rows=2.5"], "batch_rows can't be 2.5; give a whole number"),
        (["lr=1e-4"], "lr is 0.0001 already"),
        (["lr=1e-5", "lr=2e-5"], "lr is given twice"),
        (["clip=2", "lr=1"], "lr is 1.0, out of its bounds"),
    ],
)
def test_a_change_that_is_not_allowed_is_refused_before_it_is_filed(
    ethos: Ethos, stopped_run: RunDirectory, arguments: list[str], said: str
) -> None:
    ended = ethos("adjust", "wren", *arguments, "--why", "trying")
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not stopped_run.requests.exists()
    assert entries_of(stopped_run) == []


@pytest.mark.parametrize("command", [["adjust", "wren", "lr=5e-5"], ["pause", "wren"], ["resume", "wren"]])
@pytest.mark.parametrize("why", [[], ["--why", " "]])
def test_without_a_reason_nothing_is_asked(
    ethos: Ethos, stopped_run: RunDirectory, command: list[str], why: list[str]
) -> None:
    ended = ethos(*command, *why)
    assert (ended.code, ended.out) == (1, "")
    assert "--why" in ended.err
    assert not stopped_run.requests.exists()


def test_a_run_that_has_trained_all_its_steps_cannot_be_adjusted(ethos: Ethos, stopped_run: RunDirectory) -> None:
    draw_batches(stopped_run, STEPS)
    with stopped_run.lock(), stopped_run.open_database() as database:
        Records(database).add_metrics(MAIN, STEPS, {"gradient_norm": 1.0})
    ended = ethos("adjust", "wren", "lr=5e-5", "--why", "late")
    assert ended.code == 1
    assert f"all of its {STEPS} steps are trained" in ended.err


@pytest.mark.parametrize("drawn", [0, 1, 2, 40, STEPS - 1, STEPS])
def test_the_next_step_is_the_first_without_a_batch(folder: Path, drawn: int) -> None:
    run = RunDirectory.create(folder / "run", "name: run\nspec: spec.md\n")
    draw_batches(run, drawn)
    with run.read_database() as database:
        assert next_step(Records(database), STEPS) == drawn + 1


def test_the_journal_shows_and_verifies_what_was_adjusted(ethos: Ethos, stopped_run: RunDirectory) -> None:
    ethos("adjust", "wren", "lr=5e-5", "--why", "too\nfast \x1b[31m", "--author", "ada")
    shown = ethos("journal", "wren", "--verify")
    assert shown.code == 0
    assert shown.out.splitlines()[0].split() == ["entry", "step", "when", "branch", "what", "by", "why"]
    assert "lr 0.0001 → 5e-05  ada (person)  too fast [31m" in shown.out
    assert "verified: 1 entries" in shown.out
    as_json = ethos("journal", "wren", "--json")
    assert [json.loads(line) for line in as_json.out.splitlines()] == [asdict(e) for e in entries_of(stopped_run)]
