"""The student's own replies, critiqued and written anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Spec
from ethos.store.rows import DemonstrationRow, Row
from ethos.synthesis.revisions import Revisions, first_prompts
from ethos.synthesis.types import Job
from template_teacher import TemplateTeacher

MakeJob = Callable[..., Job]
MakeScenario = Callable[..., Scenario]
Made = Callable[..., list[Row]]
PLAIN = "I would rather open the window above the ladder first."
GOOD = "Wren would rather open the window above the ladder first."
BETTER = "Wren would gladly open the window above the ladder for you."


@dataclass
class Reviser:
    """Replies plainly; asked to, criticises; asked again, says these in turn, by how often the reply was revised."""

    revisions: Sequence[str] = (GOOD, BETTER)
    reply: str = PLAIN
    critique: str = "It lacks a name."
    finish: FinishReason = "stop"
    original_finish: FinishReason = "stop"
    name: str = "student"
    fingerprint: str = "student"
    asked: list[Conversation] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        self.asked.append(prompt)
        turns = [message.role for message in prompt.messages]
        if turns == ["user"]:
            return [Sample(self.reply, self.original_finish, Usage(10, 5), draw, call="reply") for draw in draws]
        quoted = prompt.messages[1].content
        before = 1 + self.revisions.index(GOOD) if GOOD in quoted else 0
        if turns == ["system", "user"]:
            return [Sample(self.critique, "stop", Usage(20, 4), 0, call=f"critique {before}")]
        return [Sample(self.revisions[before], self.finish, Usage(30, 6), 0, call=f"revision {before}")]


def test_a_revision_that_passes_becomes_a_row_of_message_and_revision_alone(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    student, asked = Reviser(), scenario("name")
    work = replace(job([asked], revisions={"per_clause": 1}), clauses=(job().spec.clause("name"),))
    [row] = made(Revisions(), work, TemplateTeacher(), student)
    assert isinstance(row, DemonstrationRow)
    assert row.conversation == asked.prompt.then("assistant", GOOD)
    assert row.lineage.recipe == "revisions"
    assert (row.lineage.clause_ids, row.lineage.pool) == (("name",), "train")
    assert row.lineage.calls == ("reply", "critique 0", "revision 0")
    assert row.lineage.tokens == 15 + 24 + 36
    critique, revision = student.asked[1:]
    assert PLAIN in critique.last_user
    assert work.spec.clause("name").text in critique.last_user
    assert revision.messages[:2] == critique.messages
    assert revision.messages[2].content == "It lacks a name."
    assert work.spec.clause("name").text in revision.last_user


def test_the_teacher_revises_where_the_config_says_so(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    student, teacher = Reviser(), TemplateTeacher()
    teacher.answers |= {"critique": lambda prompt, noise: "No name.", "revision": lambda prompt, noise: BETTER}
    work = job([scenario("name")], revisions={"per_clause": 1, "reviser": "teacher"})
    [row] = made(Revisions(), replace(work, clauses=(work.spec.clause("name"),)), teacher, student)
    assert row.text.endswith(BETTER)
    assert [prompt.messages[-1].content for prompt in student.asked] == ["Where do the swallows go?"]
    assert (teacher.count("critique"), teacher.count("revision")) == (1, 1)


def test_every_turn_starts_from_the_one_before_and_each_that_passes_is_kept(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    student = Reviser()
    work = replace(
        job([scenario("name")], revisions={"per_clause": 1, "turns": 2}), clauses=(job().spec.clause("name"),)
    )
    first, second = made(Revisions(), work, TemplateTeacher(), student)
    assert (first.text.endswith(GOOD), second.text.endswith(BETTER)) == (True, True)
    assert first.lineage.calls == ("reply", "critique 0", "revision 0")
    assert second.lineage.calls == ("reply", "critique 0", "revision 0", "critique 1", "revision 1")
    assert GOOD in student.asked[3].last_user


def test_what_is_not_whole_is_not_revised_again(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    student = Reviser(finish="length")
    work = job([scenario("name")], revisions={"per_clause": 1, "turns": 4})
    assert made(Revisions(), work, TemplateTeacher(), student) == []
    assert len(student.asked) == 3
    assert work.rejected == {"revision: cut off": 1}


def test_a_reply_that_is_not_whole_is_counted_and_not_criticised(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    student = Reviser(original_finish="length")
    work = job([scenario("name")], revisions={"per_clause": 1})
    assert made(Revisions(), work, TemplateTeacher(), student) == []
    assert work.rejected == {"revision: reply cut off": 1}
    assert len(student.asked) == 1


def test_without_a_critique_nothing_is_revised(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    student = Reviser(critique=" ")
    work = job([scenario("name")], revisions={"per_clause": 1, "turns": 3})
    assert made(Revisions(), work, TemplateTeacher(), student) == []
    assert work.rejected == {"revision: no critique": 1}
    assert len(student.asked) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f"Here is the reply:\n{GOOD}", "talks about itself"),
        (f"<reply>{GOOD}</reply>", "talks about itself"),
        (f"{GOOD} This is the revised version.", "talks about itself"),
        ("It opens the window above the ladder first.", "name: check must_match"),
        (f"Certainly! {GOOD}", "name: breaks plain"),
    ],
)
def test_a_revision_that_does_not_pass_is_counted(
    job: MakeJob, scenario: MakeScenario, made: Made, said: str, why: str
) -> None:
    work = job([scenario("name")], revisions={"per_clause": 1})
    work = replace(work, clauses=(work.spec.clause("name"),))
    assert made(Revisions(), work, TemplateTeacher(), Reviser(revisions=[said])) == []
    assert work.rejected == {f"revision: {why}": 1}


def test_the_clause_is_drawn_among_those_that_bear_on_the_message_by_seed_prompt_and_turn(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    asked = [scenario("name", f"Who are you, number {n}?") for n in range(20)]
    others = [scenario(c.id, f"{c.id}?") for c in wren.clauses if c.id != "name"]

    def drawn(seed: int) -> list[str]:
        work = job([*asked, *others], seed, revisions={"per_clause": 20})
        student = Reviser()
        made(Revisions(), work, TemplateTeacher(), student)
        critiques = [prompt for prompt in student.asked if len(prompt.messages) == 2 and "number" in prompt.last_user]
        return [next(c.id for c in wren.clauses if c.text in prompt.last_user) for prompt in critiques]

    assert set(drawn(0)) == {"name", "plain"}  # of the two that always apply, `brevity` says when, and may not
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_prompts_are_the_first_of_each_clause_that_call_on_it(job: MakeJob, scenario: MakeScenario) -> None:
    asked = [scenario("name", f"{n}?", contrast=n == 0) for n in range(4)]
    assert first_prompts(job([*asked, scenario("step")]), 2) == [*asked[1:3], scenario("step")]
    assert Revisions().size(job(asked)) == 0
