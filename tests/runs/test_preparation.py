"""From the spec to rows: what the teacher is asked and what not, what is kept, and that what is missing is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ethos.judging.adherence import Assessor
from ethos.judging.clause_reading import ClauseReading
from ethos.models.types import Sample, Usage
from ethos.runs.preparation import as_read, load_rows, missing_rows, probe_language, read_clauses, rows_of, sources_of
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text
from ethos.spec.scenarios import Family, Scenario
from ethos.store.config.data import SynthesisConfig
from ethos.store.rows import DemonstrationRow, Lineage
from ethos.synthesis.recipes import recipes_of
from ethos.synthesis.types import Cast, Job
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


RECIPES = recipes_of(SynthesisConfig(), ["What is a lamp for?"])


def job() -> Job:
    asked = Conversation.user("Who are you, please?")
    scenarios = tuple(Scenario(Family(c.id, "a lamp", "chat", "train"), asked) for c in SPEC.clauses)
    return Job(SPEC, SPEC.clauses, scenarios, SynthesisConfig(), 0, len)


def row(recipe: str, clause_id: str) -> DemonstrationRow:
    return DemonstrationRow(
        Conversation.user("Hi").then("assistant", f"{recipe} {clause_id}"), Lineage(recipe, (clause_id,))
    )


def test_a_recipe_and_a_clause_without_a_row_are_named() -> None:
    found = missing_rows(job(), RECIPES, [row("demonstrations", "name"), row("documents", "short")])
    assert [warning.split(":")[0] for warning in found] == ["replay", "clause short"]


def test_a_contrast_is_no_demonstration_of_its_clause() -> None:
    rows = [row(recipe, "name") for recipe in ("documents", "demonstrations", "replay")]
    contrast = row("demonstrations", "short")
    contrast = replace(contrast, lineage=replace(contrast.lineage, contrast=True))
    [warning] = missing_rows(job(), RECIPES, [*rows, contrast])
    assert warning.startswith("clause short: not one demonstration was kept")
    assert sources_of([*rows, contrast]) == {"name": 3, "short, contrast": 1}


def test_nothing_is_said_where_nothing_is_missing() -> None:
    rows = [row(recipe, id_) for recipe in ("documents", "demonstrations", "replay") for id_ in ("name", "short")]
    assert missing_rows(job(), RECIPES, rows) == []


def test_no_row_holds_a_prompt_that_is_held_out(session: Session) -> None:
    settings = SynthesisConfig.model_validate(
        {"documents": {"count": 4, "spec_text": True}, "demonstrations": {"replay_rows": 0}}
    )
    work, cast = replace(job(), scenarios=(), config=settings), Cast(TemplateTeacher(), teacher(), Assessor(SPEC))

    def texts(held_out: Sequence[str]) -> list[str]:
        files = asyncio.run(rows_of(session, work, cast, RECIPES, held_out, "a"))
        return [row.text for row in load_rows(session, files)]

    spec_text = "It says its name."
    *_, last = texts([])
    remaining = texts([" ".join(last.split()[:9]), spec_text])
    assert last not in remaining
    assert any(spec_text in text for text in remaining)
    assert work.rejected == {"documents: holds a prompt of taste, sealed pool or canary": 1}


def teacher(reading: str = READING) -> TemplateTeacher:
    return TemplateTeacher(
        answers={**ANSWERS, "clause_reading": lambda prompt, noise: reading, "questions": lambda prompt, noise: "None."}
    )


def warnings(session: Session) -> list[str]:
    return list(session.stages.notices("warning"))


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
    [name] = asyncio.run(rows_of(session, work, cast, RECIPES, (), "a")).values()
    before = load_rows(session, {"document": name})
    (session.run.rows / name).unlink()
    files = asyncio.run(rows_of(session, work, cast, RECIPES, (), "a"))
    assert files == {"document": name}
    assert load_rows(session, files) == before
