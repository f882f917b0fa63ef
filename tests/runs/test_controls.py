"""What people ask of a run: taken up at a boundary, entered in the journal with its step, refused with a reason."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from ethos.errors import EthosError
from ethos.runs.controls import Controls, next_step
from ethos.runs.session import Session
from ethos.store.journal import MAIN
from ethos.store.requests import Answer, RequestKind, file_request, read_answer
from ethos.store.stages import Status

STEPS = 10


@pytest.fixture
def controls(session: Session) -> Controls:
    found = Controls(session.run, session.journal, session.records, session.stages, MAIN, STEPS, asyncio.Event())
    found.restore()
    return found


def ask(controls: Controls, kind: RequestKind, payload: Any = None, reason: str = "") -> str:
    return file_request(controls.run, kind, payload or {}, "ada", reason)


def answered(controls: Controls, request: str) -> Answer:
    given = read_answer(controls.run, request)
    assert given is not None
    return given


def boundary(controls: Controls, step: int) -> None:
    asyncio.run(asyncio.wait_for(controls.boundary(step), timeout=30))


def test_a_change_takes_effect_at_the_boundarys_step(controls: Controls) -> None:
    request = ask(controls, "adjust", {"changes": {"lr": 0.001, "mixture.documents": 0.5}}, "too fast")
    boundary(controls, 4)
    assert controls.journal.knobs(MAIN, 3).lr == 0.003
    assert controls.journal.knobs(MAIN, 4).lr == 0.001
    assert controls.journal.knobs(MAIN, 4).mixture.documents == 0.5
    entries = controls.journal.entries()
    assert [(e.step, e.author, e.reason, e.origin) for e in entries] == [(4, "ada", "too fast", "person")] * 2
    given = answered(controls, request)
    assert given.message == "lr: 0.003 → 0.001; mixture.documents: 1.0 → 0.5, from step 4"
    assert given.sequence == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lr": 3.0}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"learning_rate": 0.001}, "learning_rate"),
        ({"clip": 0.5, "lr": 3.0}, "lr"),
        ({"lr": 0.003}, "lr"),
    ],
)
def test_a_change_out_of_bounds_or_without_effect_is_refused_whole(
    controls: Controls, changes: dict[str, Any], reason: str
) -> None:
    request = ask(controls, "adjust", {"changes": changes})
    boundary(controls, 4)
    assert controls.journal.entries() == []
    assert controls.journal.knobs(MAIN, 4).clip == 1.0
    assert answered(controls, request).outcome == "refused"
    assert reason in answered(controls, request).message


def test_a_change_after_the_last_step_is_refused(controls: Controls) -> None:
    controls.records.add_metrics(MAIN, STEPS, {"gradient_norm": 1.0})
    request = ask(controls, "adjust", {"changes": {"clip": 0.5}})
    boundary(controls, STEPS + 1)
    assert answered(controls, request).message.startswith("all of the 10 steps are trained")


def test_a_pause_waits_until_it_is_resumed(controls: Controls) -> None:
    async def story() -> None:
        ask(controls, "pause")
        waiting = asyncio.create_task(controls.boundary(4))
        while controls.gate.is_set():
            await asyncio.sleep(0.01)
        assert not waiting.done()
        ask(controls, "adjust", {"changes": {"clip": 0.5}})
        ask(controls, "resume")
        await asyncio.wait_for(waiting, timeout=30)

    asyncio.run(story())
    assert [(e.kind, e.name, e.step) for e in controls.journal.entries()] == [
        ("control", "pause", 4),
        ("knob", "clip", 4),
        ("control", "resume", 4),
    ]


def test_a_run_that_was_paused_stays_paused_in_the_next_sitting(controls: Controls, session: Session) -> None:
    request = ask(controls, "pause")
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(controls.boundary(4), timeout=0.1))
    assert answered(controls, request).outcome == "applied"
    again = Controls(session.run, session.journal, session.records, session.stages, MAIN, STEPS, asyncio.Event())
    again.restore()
    assert not again.gate.is_set()
    ask(again, "resume")
    boundary(again, 4)
    assert again.gate.is_set()


def test_the_status_says_that_the_run_is_held(controls: Controls) -> None:
    controls.stages.set_status(Status("running", "writing rows", 3, 9, ""))
    for kind in ("pause", "resume"):
        ask(controls, kind)  # type: ignore[arg-type]
        controls.take_pending()
        status = controls.stages.status()
        assert status is not None
        assert (status.state, status.stage, status.done) == (
            "paused" if kind == "pause" else "running",
            "writing rows",
            3,
        )


def test_resuming_what_is_not_paused_is_refused(controls: Controls) -> None:
    request = ask(controls, "resume")
    boundary(controls, 4)
    assert answered(controls, request).outcome == "refused"
    assert controls.journal.entries() == []


def test_a_note_enters_the_journal_and_changes_nothing(controls: Controls) -> None:
    before = controls.journal.knobs(MAIN, 4)
    ask(controls, "note", reason="the replies get shorter")
    boundary(controls, 4)
    [entry] = controls.journal.entries()
    assert (entry.kind, entry.reason, entry.step) == ("note", "the replies get shorter", 4)
    assert controls.journal.knobs(MAIN, 4) == before


def test_a_malformed_request_is_refused_and_stops_nothing(controls: Controls) -> None:
    controls.run.requests.mkdir(exist_ok=True)
    (controls.run.requests / "0-handmade.json").write_text("{")
    request = ask(controls, "adjust", {"changes": {"clip": 0.5}})
    boundary(controls, 4)
    assert answered(controls, "0-handmade").outcome == "refused"
    assert answered(controls, request).outcome == "applied"


def test_requests_are_taken_up_between_stages_too(controls: Controls) -> None:
    async def job() -> str:
        request = ask(controls, "adjust", {"changes": {"clip": 0.5}})
        while read_answer(controls.run, request) is None:
            await asyncio.sleep(0.01)
        return "done"

    assert asyncio.run(asyncio.wait_for(controls.attend_during(job()), timeout=30)) == "done"
    assert controls.journal.entries()[0].step == 1


def test_what_goes_wrong_while_requests_are_taken_up_ends_a_paused_job_at_once(
    controls: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ethos.runs.controls.answer", full)
    ended: list[str] = []

    async def job() -> None:
        ask(controls, "pause")
        try:
            while controls.gate.is_set():
                await asyncio.sleep(0.01)
            await controls.gate.wait()
        finally:
            await asyncio.sleep(0)
            ended.append("brought to its end")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(asyncio.wait_for(controls.attend_during(job()), timeout=30))
    assert ended


def test_an_error_of_the_job_is_raised_and_a_cancelled_job_comes_to_its_end(controls: Controls) -> None:
    ended: list[str] = []

    async def failing() -> None:
        raise EthosError("planted")

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("brought to its end")

    with pytest.raises(EthosError, match="planted"):
        asyncio.run(controls.attend_during(failing()))
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(controls.attend_during(waiting()), timeout=0.05))
    assert ended


def test_weight_for_an_objective_without_rows_is_refused_with_the_mend(controls: Controls) -> None:
    controls.untrainable = {"documents": "the run has no row for it; leave it at 0"}
    lower = ask(controls, "adjust", {"changes": {"mixture.documents": 0.0, "mixture.demonstrations": 0.5}})
    boundary(controls, 4)
    assert answered(controls, lower).outcome == "applied"
    raised = ask(controls, "adjust", {"changes": {"clip": 0.5, "mixture.documents": 0.5}})
    boundary(controls, 5)
    assert answered(controls, raised).outcome == "refused"
    assert answered(controls, raised).message.startswith("mixture.documents can't be 0.5: the run has no row for it;")
    assert controls.journal.knobs(MAIN, 5).clip == 1.0


def test_the_next_step_is_the_first_without_a_batch(controls: Controls) -> None:
    assert next_step(controls.records, STEPS) == 1
    for step in range(1, STEPS + 1):
        controls.records.add_batch(MAIN, step, {})
        assert next_step(controls.records, STEPS) == step + 1


def test_the_next_step_of_a_branch_comes_after_the_fork_and_its_own(controls: Controls) -> None:
    for step in range(1, STEPS + 1):
        controls.records.add_batch(MAIN, step, {})
    controls.journal.fork("other", MAIN, 2)
    assert next_step(controls.records, STEPS, "other", 2) == 3
    controls.records.add_batch("other", 3, {})
    assert next_step(controls.records, STEPS, "other", 2) == 4


def test_nothing_asked_holds_nothing_up(controls: Controls) -> None:
    boundary(controls, 1)
    assert controls.journal.entries() == []


def test_a_knob_of_another_name_is_an_error_of_the_journal_too(controls: Controls) -> None:
    from ethos.store.journal import Draft

    with pytest.raises(EthosError):
        controls.journal.append(
            Draft(kind="knob", name="speed", step=1, origin="person", author="ada", reason="", old=1, new=2)
        )
