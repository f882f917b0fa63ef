"""What judges are calibrated on, that it happens once, and what is said of a clause that none may speak on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from endpoint_server import EndpointServer
from ethos.judging.calibration import Calibration
from ethos.judging.clause_reading import ClauseReading
from ethos.judging.comparer import Comparer
from ethos.judging.labelled import CalibrationReply
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording
from ethos.models.catalogue import OPENAI_KEY
from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.progress import QuietProgress
from ethos.runs.judges import (
    CalibratedJudge,
    calibrated_comparer,
    calibrated_judge,
    labelled_replies,
    warn_of_unreadable,
)
from ethos.runs.models import ModelShelf
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text
from ethos.spec.scenarios import Family, Scenario
from ethos.store.config.models import ModelsConfig
from runs.test_preparation import JUDGED, teacher, warnings
from template_judge import WORDS, TemplateJudge


class Moody:
    """Refuses its first draw of all, and answers it ever after."""

    name, fingerprint = "moody", "moody"
    refused = False

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        samples = [Sample(f"It {prompt.digest()[:6]} {draw}.", "stop", Usage(1, 1), draw) for draw in draws]
        if not self.refused:
            self.refused = True
            samples[0] = Sample("", "refused", Usage(0, 0), draws[0], refusal="moody: not that")
        return samples


def test_what_an_endpoint_answers_later_changes_no_labelled_reply(session: Session) -> None:
    spec = parse_text("# Wren\n\n## Short {#short}\n\nIt keeps it short.\n", "Wren", Path("s.md"))
    clause_id = spec.clauses[0].id
    family = Family(clause_id, "a lamp", "chat", "train")
    scenarios = [Scenario(family, Conversation.user(f"Is it the {n}th?")) for n in range(6)]
    teacher = Moody()

    def found() -> object:
        readings = {clause_id: ClauseReading("", ("Is it short?",))}
        judged = replace(session, spec=spec)
        return asyncio.run(labelled_replies(judged, spec.clauses, readings, scenarios, teacher))

    first = found()
    assert teacher.refused
    assert found() == first


def calibration(clause_id: str, *, passed: bool) -> Calibration:
    reason = "" if passed else "it sees no difference"
    return Calibration(clause_id, "judge", "Is it?", 0.9, 0.8, 1.0, 0.5, passed, 8, 8, reason)


def judge_with(*calibrations: Calibration) -> CalibratedJudge:
    rubric = RubricJudge(TemplateJudge({}), "judge", load_wording("rubric"))
    return CalibratedJudge(rubric, {found.clause_id: found for found in calibrations}, "0" * 64)


def test_labelled_replies_are_the_users_or_else_the_teachers_to_train_messages(session: Session) -> None:
    own = CalibrationReply("asked", "Why?", "Because.", good=True)
    session, asked = replace(session, spec=JUDGED, labelled=(own,)), teacher()
    scenarios = [
        Scenario(
            Family(clause.id, f"{pool} {contrast}", "chat", pool, contrast), Conversation.user(f"{pool} {contrast}")
        )
        for clause in JUDGED.clauses
        for pool in ("train", "taste", "sealed")
        for contrast in (False, True)
    ]
    readings = {c.id: ClauseReading("", (f"Is it {c.id}?",)) for c in JUDGED.clauses}
    found = asyncio.run(labelled_replies(session, JUDGED.clauses, readings, scenarios, asked))
    assert found["asked"] == (("Is it asked?",), [own])
    questions, written = found["prose"]
    assert questions == ("Is it prose?",)
    assert {(reply.clause_id, reply.scenario) for reply in written} == {("prose", "train False")}
    assert {reply.good for reply in written} == {True, False}
    assert {kind for kind, _, _, _ in asked.asked} == {"rule_reply", "plain_reply"}


def test_both_judges_are_calibrated_once_each_with_its_own_model_and_wording(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OPENAI_KEY, "none")
    judge = TemplateJudge({"Does the reply give a reason?": lambda reply: "because" in reply})
    labelled = [
        CalibrationReply("asked", f"Why {scenario}?", f"Go, {'because' if good else 'and'} {n}.", good)
        for scenario in range(4)
        for n in range(4)
        for good in (True, False)
    ]
    replies = {"asked": (("Does the reply give a reason?",), labelled)}
    with EndpointServer(judge, words=WORDS) as server:
        url = f"openai:{server.address}/v1"
        models = ModelsConfig(student="tiny", teacher="tiny", judge=f"{url}#one", sealed_judge=f"{url}#other")
        session = replace(session, spec=JUDGED, config=session.config.model_copy(update={"models": models}))
        shelf = ModelShelf(models, folder, QuietProgress())

        async def calibrate() -> list[CalibratedJudge]:
            try:
                return [
                    await calibrated_judge(session, shelf, JUDGED.clauses[:1], replies, sealed=s) for s in (False, True)
                ]
            finally:
                await shelf.close()

        first = asyncio.run(calibrate())
        requests = len(server.requests)
        assert [found.calibrations for found in asyncio.run(calibrate())] == [found.calibrations for found in first]
        assert len(server.requests) == requests == 2 * len(labelled)
    rows, sealed = first
    assert rows.calibrations["asked"].judge == f"{url}#one (rubric)"
    assert sealed.calibrations["asked"].judge == f"{url}#other (rubric_sealed)"
    assert rows.calibrations["asked"].passed
    assert sealed.calibrations["asked"].auc == 1.0
    assert {asked.wording for asked in judge.asked} == {"rubric", "rubric_sealed"}


@dataclass
class Shelf:
    """Holds one model: it prefers a reply that holds `word`, or without one sees no difference."""

    word: str = ""
    asked: int = 0

    async def frozen(self, session: Session, name: str, role: str) -> Any:
        """As `ModelShelf`."""
        return self

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """As `Scorer`, of A and B."""
        self.asked += 1
        worth = [bool(self.word) and self.word in part for part in prompt.last_user.split("<reply_b>")]
        odds = 2.5 + 2.0 * (worth[0] - worth[1])  # it always names what stands first
        return [TokenLogprobs((0,), (odds * (reply == "A"),)) for reply in replies]


@pytest.mark.parametrize("word", ["because", ""])
def test_the_judge_of_rows_compares_where_it_passed_on_pairs_and_elsewhere_it_is_warned(
    session: Session, word: str
) -> None:
    labelled = [
        CalibrationReply(clause_id, f"Why {scenario}?", f"Go, {'because' if good else 'and'} {n}.", good)
        for clause_id in ("asked", "prose")
        for scenario in range(4)
        for n in range(4)
        for good in (True, False)
    ]
    replies = {id_: (("Q?",), [reply for reply in labelled if reply.clause_id == id_]) for id_ in ("asked", "prose")}
    judge = judge_with(calibration("asked", passed=True), calibration("prose", passed=False))
    session, shelf = replace(session, spec=JUDGED), Shelf(word)

    def calibrated() -> Comparer:
        shelved: Any = shelf
        return asyncio.run(calibrated_comparer(session, shelved, JUDGED.clauses, replies, judge))

    found = calibrated()
    assert found.judge.name.endswith("(pairwise)")
    assert list(found.calibrations) == ["asked"]  # on the other it may not speak at all
    assert (found.calibrations["asked"].passed, found.calibrations["asked"].question) == (bool(word), "Is it?")
    assert calibrated().calibrations == found.calibrations
    assert shelf.asked == 2 * 16
    said = "clause asked: its preferences rest on the odds of each reply by itself, for the judge names the same reply"
    assert [warning.startswith(said) for warning in warnings(session)] == [True] * (not word)


def test_a_clause_whose_judge_failed_is_warned_of_with_the_reason(session: Session) -> None:
    judge = judge_with(calibration("asked", passed=True), calibration("prose", passed=False))
    warn_of_unreadable(session, JUDGED.clauses, judge)
    assert set(judge.readable(JUDGED.clauses)) == {"asked"}
    assert warnings(session) == ["no demonstration of clause prose was judged: it sees no difference"]


def test_a_must_that_no_judge_may_speak_on_is_warned_of(session: Session) -> None:
    asked, prose = JUDGED.clauses
    spec = replace(JUDGED, clauses=(asked, replace(prose, tier="must")))
    warn_of_unreadable(replace(session, spec=spec), [asked], judge_with(calibration("asked", passed=True)))
    [said] = warnings(session)
    assert said.startswith("clause prose is a `must` and none of the run's clauses")


def test_where_no_clause_can_be_read_a_stronger_judge_is_asked_for(session: Session) -> None:
    judge = judge_with(calibration("asked", passed=False), calibration("prose", passed=False))
    warn_of_unreadable(session, JUDGED.clauses, judge)
    *_, last = warnings(session)
    assert len(warnings(session)) == 3
    assert "name a stronger models.judge" in last
    assert "the student learns from documents and replay alone" in last
