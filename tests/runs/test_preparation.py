"""From the spec to rows: what the teacher is asked and what not, what is kept, and that what is missing is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from endpoint_server import EndpointServer
from ethos.judging.adherence import Assessor
from ethos.judging.calibration import Calibration
from ethos.judging.clause_reading import ClauseReading
from ethos.judging.labelled import CalibrationReply
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording
from ethos.models.catalogue import OPENAI_KEY
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import QuietProgress
from ethos.runs.models import ModelShelf
from ethos.runs.preparation import (
    CalibratedJudge,
    as_read,
    calibrated_judge,
    labelled_replies,
    load_rows,
    missing_rows,
    probe_language,
    read_clauses,
    rows_of,
    sources_of,
    warn_of_unreadable,
)
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text
from ethos.spec.scenarios import Family, Scenario
from ethos.store.config.data import SynthesisConfig
from ethos.store.config.models import ModelsConfig
from ethos.store.rows import DemonstrationRow, Lineage
from ethos.synthesis.types import Cast, Job
from template_judge import WORDS, TemplateJudge
from template_teacher import ANSWERS, TemplateTeacher

SPEC = parse_text(
    "# Wren\n\n## Name {#name}\n\nIt says its name.\n\n```ethos\nchecks: {must_match: Wren}\n```\n\n"
    "## Short {#short}\n\nIt keeps it short.\n\n```ethos\nchecks: {max_words: 20}\n```\n",
    "Wren",
    Path("s.md"),
)
JUDGED = parse_text(
    "# House rules\n\n## Asked {#asked}\n\nIt gives a reason.\n\n```ethos\nwhen: someone asks why\n"
    "ask: Does the reply give a reason?\n```\n\n## Prose {#prose}\n\nIt is kind to whoever is sad.\n\n"
    "```ethos\ntier: should\n```\n",
    "House rules",
    Path("s.md"),
)
READING = "When: someone is sad\nQuestion: Is the reply kind?"


class Speaker:
    """A student that answers by a function of the message."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: Any,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        self.asked += [prompt.last_user for prompt in prompts]
        return [[Sample(self.answer(prompt.last_user), "stop", Usage(1, 1), 0)] for prompt in prompts]


def job() -> Job:
    asked = Conversation.user("Who are you, please?")
    scenarios = tuple(Scenario(Family(c.id, "a lamp", "chat", "train"), asked) for c in SPEC.clauses)
    return Job(SPEC, SPEC.clauses, scenarios, SynthesisConfig(), 0, len)


def row(recipe: str, clause_id: str) -> DemonstrationRow:
    return DemonstrationRow(
        Conversation.user("Hi").then("assistant", f"{recipe} {clause_id}"), Lineage(recipe, (clause_id,))
    )


def test_a_recipe_and_a_clause_without_a_row_are_named() -> None:
    found = missing_rows(job(), [row("demonstrations", "name"), row("documents", "short")])
    assert [warning.split(":")[0] for warning in found] == ["replay", "clause short"]


def test_a_contrast_is_no_demonstration_of_its_clause() -> None:
    rows = [row(recipe, "name") for recipe in ("documents", "demonstrations", "replay")]
    contrast = row("demonstrations", "short")
    contrast = replace(contrast, lineage=replace(contrast.lineage, contrast=True))
    [warning] = missing_rows(job(), [*rows, contrast])
    assert warning.startswith("clause short: not one demonstration was kept")
    assert sources_of([*rows, contrast]) == {"name": 3, "short, contrast": 1}


def test_nothing_is_said_where_nothing_is_missing() -> None:
    rows = [row(recipe, id_) for recipe in ("documents", "demonstrations", "replay") for id_ in ("name", "short")]
    assert missing_rows(job(), rows) == []


def test_no_row_holds_a_prompt_that_is_held_out(session: Session) -> None:
    settings = SynthesisConfig.model_validate(
        {"documents": {"count": 4, "spec_text": True}, "demonstrations": {"replay_rows": 0}}
    )
    work, cast = replace(job(), scenarios=(), config=settings), Cast(TemplateTeacher(), teacher(), Assessor(SPEC))

    def texts(held_out: Sequence[str]) -> list[str]:
        files = asyncio.run(rows_of(session, work, cast, (), held_out, "a"))
        return [row.text for row in load_rows(session, files)]

    spec_text = "It says its name."
    *_, last = texts([])
    remaining = texts([" ".join(last.split()[:9]), spec_text])
    assert last not in remaining
    assert any(spec_text in text for text in remaining)
    assert work.rejected == {"documents: holds a prompt of taste, sealed pool or canary": 1}


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


def teacher(reading: str = READING) -> TemplateTeacher:
    return TemplateTeacher(
        answers={**ANSWERS, "clause_reading": lambda prompt, noise: reading, "questions": lambda prompt, noise: "None."}
    )


def warnings(session: Session) -> list[str]:
    return list(session.stages.notices("warning"))


def calibration(clause_id: str, *, passed: bool) -> Calibration:
    reason = "" if passed else "it sees no difference"
    return Calibration(clause_id, "judge", "Is it?", 0.9, 0.8, 1.0, 0.5, passed, 8, 8, reason)


def judge_with(*calibrations: Calibration) -> CalibratedJudge:
    rubric = RubricJudge(TemplateJudge({}), "judge", load_wording("rubric"))
    return CalibratedJudge(rubric, {found.clause_id: found for found in calibrations}, "0" * 64)


def test_only_what_a_clause_does_not_declare_is_asked_of_the_teacher_and_only_once(session: Session) -> None:
    session, asked = replace(session, spec=JUDGED), teacher()
    readings = asyncio.run(read_clauses(session, JUDGED.clauses, asked))
    assert readings == {
        "asked": ClauseReading("someone asks why", ("Does the reply give a reason?",)),
        "prose": ClauseReading("someone is sad", ("Is the reply kind?",)),
    }
    assert {prompt.last_user for _, prompt, _, _ in asked.asked} == {
        "Assistant: It gives a reason.\nRule: It is kind to whoever is sad.",
        "Rule: It is kind to whoever is sad.\n4 questions:",
    }
    assert [clause.when for clause in as_read(JUDGED, readings).clauses] == ["someone asks why", "someone is sad"]
    again = teacher("?")
    assert asyncio.run(read_clauses(session, JUDGED.clauses, again)) == readings
    assert again.asked == []
    assert warnings(session) == []


def test_a_clause_whose_case_the_teacher_does_not_say_is_warned_of(session: Session) -> None:
    readings = asyncio.run(read_clauses(replace(session, spec=JUDGED), JUDGED.clauses, teacher("?")))
    assert readings["prose"] == ClauseReading("", ())
    assert warnings(session) == ["clause prose: the teacher didn't say when it applies; add `when:` to it"]


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


@pytest.mark.parametrize(("french", "told"), [(0, "0%"), (1, "33%"), (2, None)])
def test_a_student_that_answers_in_another_language_is_warned_of(
    session: Session, french: int, told: str | None
) -> None:
    answers = iter(["La mer est immense et bleue."] * french + ["The sea is wide and blue."] * (3 - french))
    student: Any = Speaker(lambda message: next(answers))
    asyncio.run(probe_language(replace(session, spec=replace(JUDGED, language="fr")), student))
    expected = f"the spec is in French, and the student answered in it in {told} of the probes: it can hardly write it"
    assert warnings(session) == ([] if told is None else [expected])


def test_a_student_is_not_probed_in_english(session: Session) -> None:
    student: Any = Speaker(lambda message: "")
    asyncio.run(probe_language(replace(session, spec=JUDGED), student))
    assert student.asked == []
    assert warnings(session) == []


def test_a_file_of_rows_that_is_gone_is_written_again_under_its_name(session: Session) -> None:
    settings = SynthesisConfig.model_validate({"documents": {"count": 4}, "demonstrations": {"replay_rows": 0}})
    work, cast = replace(job(), scenarios=(), config=settings), Cast(TemplateTeacher(), teacher(), Assessor(SPEC))
    [name] = asyncio.run(rows_of(session, work, cast, (), (), "a")).values()
    before = load_rows(session, {"document": name})
    (session.run.rows / name).unlink()
    files = asyncio.run(rows_of(session, work, cast, (), (), "a"))
    assert files == {"document": name}
    assert load_rows(session, files) == before
