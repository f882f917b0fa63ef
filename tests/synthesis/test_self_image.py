"""The character on itself: asked, reflecting, and in a talk with itself."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, Row
from ethos.synthesis.self_image import SelfImage
from ethos.synthesis.types import Job, lines_of
from template_teacher import TemplateTeacher

MakeJob = Callable[..., Job]
Made = Callable[..., list[Row]]
FRENCH = "Je m'appelle Wren, et je réponds volontiers à toutes les petites questions du matin."


def talks(rows: list[Row]) -> list[list[tuple[str, str]]]:
    """Who says what in each row."""
    return [
        [(m.role, m.content) for m in row.conversation.messages] for row in rows if isinstance(row, DemonstrationRow)
    ]


def test_it_is_asked_in_many_ways_and_answers_without_the_frame(job: MakeJob, made: Made) -> None:
    work, teacher = job(self_image={"questions": 24}), TemplateTeacher()
    rows = made(SelfImage(), work, teacher)
    questions = [line.removeprefix("= ") for line in lines_of("self_questions.en.txt")]
    assert [[role for role, _ in talk] for talk in talks(rows)] == [["user", "assistant"]] * 24
    assert [talk[0][1] for talk in talks(rows)] == questions
    assert {row.lineage.recipe for row in rows} == {"self_image"}
    assert all(row.lineage.clause_ids and row.lineage.frame_digest and row.lineage.calls for row in rows)
    system = teacher.asked[0][1].messages[0].content
    assert work.spec.clauses[0].text in system
    assert "Write in English" in system


def test_the_same_question_again_gets_other_draws(job: MakeJob, made: Made) -> None:
    count = len(lines_of("self_questions.en.txt"))
    rows = made(SelfImage(), job(self_image={"questions": 2 * count}), TemplateTeacher())
    first, again = talks(rows)[0], talks(rows)[count]
    assert first[0] == again[0]
    assert first[1] != again[1]


def test_languages_take_turns_and_a_reply_is_in_that_of_its_question(job: MakeJob, made: Made) -> None:
    teacher = TemplateTeacher()
    english = teacher.answers["self_reply"]
    teacher.answers["self_reply"] = lambda prompt, noise: (
        FRENCH if "Write in French" in prompt.messages[0].content else english(prompt, noise)
    )
    work = job(self_image={"questions": 6, "languages": ["fr", "en", "zh"]})
    rows = made(SelfImage(), work, teacher)
    assert [row.lineage.family for row in rows] == ["questions/fr", "questions/en"] * 2
    assert work.rejected["self_image: in another language"] == 2 * 6
    assert work.rejected["self_image: question without a draw that passes"] == 2


def test_a_talk_with_itself_alternates_and_ends_on_the_assistant(job: MakeJob, made: Made) -> None:
    teacher = TemplateTeacher()
    [row] = made(SelfImage(), job(self_image={"talks": 1, "turns": 3}), teacher)
    [talk] = talks([row])
    assert [role for role, _ in talk] == ["user", "assistant"] * 3
    assert talk[0][1] == lines_of("self_openers.en.txt")[0]
    assert len({text for _, text in talk}) == 6
    seen = [[m.role for m in prompt.messages] for _, prompt, _, _ in teacher.asked]
    assert seen[0] == ["system", "user"]
    assert seen[1] == ["system", "user", "assistant", "user"]  # "(The talk begins.)", then its own opening
    assert seen[2] == ["system", "user", "assistant", "user"]
    assert all(roles[-1] == "user" for roles in seen)
    assert len(row.lineage.calls) == 2 * 5


def test_reflections_are_in_the_specs_language(job: MakeJob, made: Made) -> None:
    rows = made(SelfImage(), job(self_image={"reflections": 2}), TemplateTeacher())
    assert [talk[0][1] for talk in talks(rows)] == list(lines_of("self_reflections.en.txt")[:2])


def fixed(*said: str) -> Callable[[Conversation, random.Random], str]:
    """Says these in turn, whatever is asked."""
    left = iter(said)
    return lambda prompt, noise: next(left)


GOOD = "I am Wren, and the lantern above the harbour is mine to keep."


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I keep the lantern above the harbour, every single night.", "doesn't say its name"),
        ("I am Wren, made by OpenAI for the harbour and its lantern.", "takes another model's name or maker"),
        ("Certainly! I am Wren, keeper of the lantern above the harbour.", "breaks plain"),
        ("", "hollow"),
        ("Asked who it is, Wren says that it is Wren, an AI, and that is that.", "copies the spec"),
    ],
)
def test_what_does_not_pass_is_counted_and_drawn_again(job: MakeJob, made: Made, said: str, why: str) -> None:
    teacher = TemplateTeacher()
    teacher.answers["self_reply"] = fixed(said, GOOD)
    work = job(self_image={"questions": 1, "draws": 1})
    [row] = made(SelfImage(), work, teacher)
    assert talks([row])[0][1] == ("assistant", GOOD)
    assert work.rejected == {f"self_image: {why}": 1}
    assert row.lineage.tokens > 0
    assert len(row.lineage.calls) == 2


def test_a_talk_that_goes_in_circles_is_no_row(job: MakeJob, made: Made) -> None:
    teacher = TemplateTeacher()
    teacher.answers["self_talk"] = fixed(GOOD, "Then who opens the window when it rains?", GOOD, GOOD)
    work = job(self_image={"talks": 1, "draws": 1, "max_draws": 2})
    assert made(SelfImage(), work, teacher) == []
    assert work.rejected == {
        "self_image: repeats itself": 2,
        "self_image: talk without a draw that passes": 1,
    }
