"""Rejection sampling over a few draws: what becomes a row, what doesn't, and what the row says of itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ethos.judging.adherence import Assessor
from ethos.judging.calibration import Calibration
from ethos.judging.types import Verdict
from ethos.spec.conversation import Conversation
from ethos.spec.frame import frame
from ethos.spec.scenarios import Scenario
from ethos.spec.types import CheckDeclaration, Clause, Example, Spec
from ethos.store.rows import DemonstrationRow, Row
from ethos.synthesis.demonstrations import Demonstrations
from ethos.synthesis.types import Cast, Job
from template_teacher import TemplateTeacher, message, plain_reply, reply

MakeJob = Callable[..., Job]
MakeScenario = Callable[..., Scenario]
Made = Callable[..., list[Row]]
GOOD = "Wren would mend the lantern and paint the ladder next."


def teacher_saying(*replies: str) -> TemplateTeacher:
    """Says these, one a draw."""
    teacher = TemplateTeacher()
    one = teacher._one
    texts = iter(replies)

    def said(kind: str, prompt: Conversation, params: object, draw: int) -> object:
        return replace(one(kind, prompt, params, draw), text=next(texts))  # type: ignore[arg-type]

    teacher._one = said  # type: ignore[assignment, method-assign]
    return teacher


def with_clause(spec: Spec, changed: Clause) -> Spec:
    """The spec with that clause in place of the one of its id."""
    return replace(spec, clauses=tuple(changed if c.id == changed.id else c for c in spec.clauses))


def test_a_row_is_the_prompt_and_the_reply_and_no_frame(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    [row] = made(Demonstrations(), job([scenario("name")]), teacher_saying(*[GOOD] * 3))
    assert isinstance(row, DemonstrationRow)
    assert row.conversation == scenario("name").prompt.then("assistant", GOOD)
    assert [turn.role for turn in row.conversation.messages] == ["user", "assistant"]


def test_the_teacher_sees_the_frame_and_the_message_as_it_is(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    teacher = TemplateTeacher()
    made(Demonstrations(), job([scenario("name")]), teacher)
    [(_, prompt, _, draws)] = teacher.asked
    assert wren.clause("name").text in prompt.messages[0].content
    assert prompt.last_user == scenario("name").prompt.last_user
    assert draws == (0, 1, 2)


def test_examples_with_a_message_stand_before_the_scenarios_as_turns(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    clause = replace(wren.clause("name"), good=(Example("I'm Wren.", "Hi, and you are?"), Example("Wren it is.")))
    clauses = tuple(clause if c.id == clause.id else c for c in wren.clauses)
    teacher = TemplateTeacher()
    made(Demonstrations(), replace(job([scenario("name")]), spec=replace(wren, clauses=clauses)), teacher)
    system, *turns = teacher.asked[0][1].messages
    assert [(turn.role, turn.content) for turn in turns[:2]] == [
        ("user", "Hi, and you are?"),
        ("assistant", "I'm Wren."),
    ]
    assert "- Wren it is." in system.content


FRENCH = "Je suis Wren, une assistante, et je réponds volontiers à toutes les questions sur les oiseaux de la mer."


def test_a_reply_in_a_language_that_neither_spec_nor_message_is_in_is_not_kept(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    work = job([scenario("name")])
    assert made(Demonstrations(), work, teacher_saying(*[FRENCH] * 3)) == []
    assert work.rejected["name: in another language"] == 3


def test_a_reply_in_the_language_of_its_message_is_kept(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    french = scenario("name", "Bonjour, comment vous appelez-vous, et qui vous a faite ?")
    assert len(made(Demonstrations(), job([french]), teacher_saying(*[FRENCH] * 3))) == 1


def test_more_is_drawn_while_nothing_passes(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    bad = "Someone keeps the lantern in the shed."
    teacher = teacher_saying(bad, bad, bad, GOOD, bad, bad)
    [row] = made(Demonstrations(), job([scenario("name")], demonstrations={"draws": 2, "max_draws": 6}), teacher)
    assert row.conversation.messages[-1].content == GOOD  # type: ignore[union-attr]
    assert [draws for _, _, _, draws in teacher.asked] == [(0, 1), (2, 3)]


def test_more_is_drawn_until_as_many_distinct_ones_pass_as_are_kept(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    bad, longer = "Someone keeps the lantern in the shed.", GOOD.replace("lantern", "brass lantern")
    teacher = teacher_saying(GOOD, bad, GOOD, bad, bad, longer, GOOD, GOOD)
    settings = {"draws": 2, "max_draws": 8, "kept": 2}
    rows = made(Demonstrations(), job([scenario("name")], demonstrations=settings), teacher)
    assert [row.conversation.messages[-1].content for row in rows] == [GOOD, longer]  # type: ignore[union-attr]
    assert [draws for _, _, _, draws in teacher.asked] == [(0, 1), (2, 3), (4, 5)]


def test_a_draw_that_recites_the_spec_is_not_kept(job: MakeJob, scenario: MakeScenario, made: Made, wren: Spec) -> None:
    asked = job([scenario("name")])
    recited = f"{wren.clause('name').text} {wren.clause('name').reason}"
    assert made(Demonstrations(), asked, teacher_saying(*[recited] * 3)) == []
    assert asked.rejected["name: copies the spec"] == 3


def test_of_the_passing_draws_of_a_checked_clause_the_shortest_is_kept(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    longer = GOOD.replace("lantern", "old brass lantern")
    [row] = made(Demonstrations(), job([scenario("name")]), teacher_saying(longer, GOOD, longer))
    assert row.conversation.messages[-1].content == GOOD  # type: ignore[union-attr]


def test_as_many_distinct_passing_draws_are_kept_as_the_config_says(
    job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    longer, longest = GOOD.replace("lantern", "brass lantern"), GOOD.replace("lantern", "old brass lantern")
    asked = job([scenario("name")], demonstrations={"draws": 4, "max_draws": 4, "kept": 2})
    rows = made(Demonstrations(), asked, teacher_saying(longest, GOOD, GOOD, longer))
    assert [row.conversation.messages[-1].content for row in rows] == [GOOD, longer]  # type: ignore[union-attr]
    assert len({row.id for row in rows}) == 2


def test_a_draw_that_copies_an_example_of_the_spec_is_not_kept(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    example = f"{GOOD} It does so before the harbour wakes."
    clause = replace(wren.clause("name"), good=(Example(example),))
    clauses = tuple(clause if c.id == clause.id else c for c in wren.clauses)
    asked = replace(job([scenario("name")]), spec=replace(wren, clauses=clauses))
    fresh = "Wren keeps the lantern in the shed by the ladder."
    [row] = made(Demonstrations(), asked, teacher_saying(example, fresh, f"Yes. {example}"))
    assert row.conversation.messages[-1].content == fresh  # type: ignore[union-attr]
    assert asked.rejected["name: copies the spec"] == 2


def test_a_draw_that_is_a_short_example_word_for_word_is_not_kept(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    clause = replace(wren.clause("name"), good=(Example("Wren, the lantern keeper."),))
    clauses = tuple(clause if c.id == clause.id else c for c in wren.clauses)
    asked = replace(job([scenario("name")]), spec=replace(wren, clauses=clauses))
    more = "Wren, the lantern keeper, sees to the oil."
    [row] = made(
        Demonstrations(), asked, teacher_saying("WREN, the lantern keeper!", more, "Wren, the lantern keeper.")
    )
    assert row.conversation.messages[-1].content == more  # type: ignore[union-attr]
    assert asked.rejected["name: copies the spec"] == 2


@dataclass(frozen=True)
class Odds:
    """A judge that likes replies with a window in them."""

    name: str = "odds"

    async def judge(self, clause: Clause, prompt: Conversation, reply: str) -> Verdict:
        """0.9 or 0.6, above the cut in either case."""
        return Verdict(0.9 if "window" in reply else 0.6, "scripted", self.name, clause.id)


def test_of_the_passing_draws_of_a_judged_clause_that_with_the_best_odds_is_kept(
    wren: Spec, job: MakeJob, scenario: MakeScenario
) -> None:
    asking = replace(wren.clause("name"), checks=(), ask="Does it say who it is?")
    spec = replace(wren, clauses=(asking, *wren.clauses[1:]))
    passed = Calibration("name", "odds", "Q?", 1.0, 0.9, 1.0, 0.5, 16, 16, True, "")
    best = "Wren would rather open the window above the ladder, and then sit down."
    cast = Cast(teacher_saying(GOOD, best, GOOD), TemplateTeacher(), Assessor(spec, Odds(), {"name": passed}))

    async def rows() -> list[Row]:
        return [row async for row in Demonstrations().rows(replace(job([scenario("name")]), spec=spec), cast, print)]

    [row] = asyncio.run(rows())
    assert row.conversation.messages[-1].content == best  # type: ignore[union-attr]
    assert {"score": 0.9, "evidence": "scripted", "judge": "odds", "clause_id": "name"} in row.lineage.verdicts


def test_rejections_are_counted_by_reason(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    work = job([scenario("name")], demonstrations={"draws": 4, "max_draws": 4})
    said = ["I am an assistant with a ladder.", "Wren", f"Certainly! {GOOD}", "Wren " + "has a ladder " * 20]
    assert made(Demonstrations(), work, teacher_saying(*said)) == []
    assert work.rejected == {
        "name: check must_match": 1,
        "name: hollow": 2,
        "name: breaks plain": 1,
        "scenario without a passing draw": 1,
    }


def test_a_reply_that_was_cut_off_is_no_row(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    teacher = TemplateTeacher()
    teacher.answers["demonstration"] = lambda prompt, noise: f"{reply(prompt, noise)} " * 20
    work = job([scenario("name")], demonstrations={"max_tokens": 16, "draws": 3, "max_draws": 3})
    assert made(Demonstrations(), work, teacher) == []
    assert work.rejected["cut off"] == 3


def test_a_contrast_row_does_not_apply_its_clause(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    work = job([scenario("name", contrast=True)], demonstrations={"draws": 2, "max_draws": 2})
    plain = plain_reply(Conversation(()), random.Random(0))
    [row] = made(Demonstrations(), work, teacher_saying(GOOD, plain))
    assert row.conversation.messages[-1].content == plain  # type: ignore[union-attr]
    assert work.rejected == {"name: contrast: applied all the same": 1}


def test_a_contrast_row_keeps_the_verdicts_that_say_so(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    work = job([scenario("name", contrast=True)], demonstrations={"draws": 1, "max_draws": 1})
    [row] = made(Demonstrations(), work, teacher_saying("The lantern stands behind the ladder, as far as I know."))
    assert [verdict["judge"] for verdict in row.lineage.verdicts] == ["check must_match"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize("binding", ["name", "brevity"])  # the clause itself, and a `must` that always applies
def test_a_reply_in_the_language_that_a_check_asks_for_is_kept(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made, binding: str
) -> None:
    clause = replace(wren.clause(binding), checks=(CheckDeclaration("language", "fr", 1),))
    spec = with_clause(wren, clause)
    teacher = teacher_saying(*[FRENCH] * 3)
    assert len(made(Demonstrations(), replace(job([scenario("name")]), spec=spec), teacher)) == 1
    assert "Write in French." in teacher.asked[0][1].messages[0].content


def test_a_contrast_is_not_answered_in_the_language_that_its_clause_asks_for(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    clause = replace(wren.clause("name"), checks=(CheckDeclaration("language", "fr", 1),))
    work = replace(job([scenario("name", contrast=True)]), spec=with_clause(wren, clause))
    teacher = teacher_saying(*[FRENCH] * 3)
    assert made(Demonstrations(), work, teacher) == []
    assert "Write in English." in teacher.asked[0][1].messages[0].content


@pytest.mark.parametrize(
    ("text", "kept", "told"),
    [
        ("Wren always answers in French.", 1, "Write in English, unless the above asks for another language."),
        ("Wren says so to Frenchmen, too.", 0, "Write in English."),
    ],
)
def test_a_reply_may_be_in_a_language_that_its_clause_names_as_a_word(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made, text: str, kept: int, told: str
) -> None:
    spec = with_clause(wren, replace(wren.clause("name"), text=text))
    teacher = teacher_saying(*[FRENCH] * 3)
    assert len(made(Demonstrations(), replace(job([scenario("name")]), spec=spec), teacher)) == kept
    assert told in teacher.asked[0][1].messages[0].content


def test_a_reply_that_copies_an_example_of_another_clause_is_not_kept(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    said = f"{GOOD[:-1]} and then he walks home along the long harbour wall."
    other = replace(wren.clause("step"), good=(Example(said),))
    spec = with_clause(wren, other)
    work = replace(job([scenario("name")]), spec=spec)
    assert made(Demonstrations(), work, teacher_saying(*[said] * 3)) == []
    assert work.rejected["name: copies the spec"] == 3


def test_a_contrast_row_breaks_no_must(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    work = job([scenario("name", contrast=True)], demonstrations={"draws": 1, "max_draws": 1})
    assert made(Demonstrations(), work, teacher_saying("Certainly, the ladder stands behind the barrel.")) == []
    assert work.rejected["name: contrast: breaks plain"] == 1


def test_the_lineage_names_clause_frame_family_pool_and_every_call(
    wren: Spec, job: MakeJob, scenario: MakeScenario, made: Made
) -> None:
    teacher, asked = TemplateTeacher(), scenario("step")
    [row] = made(Demonstrations(), job([asked]), teacher)
    [(_, prompt, _, _)] = teacher.asked
    lineage = row.lineage
    assert lineage.recipe == "demonstrations"
    assert (lineage.clause_ids, lineage.clause_digests) == (("step",), (wren.clause("step").digest,))
    assert lineage.frame_digest == frame(wren, ["step"], 400, lambda text: len(text.split())).digest
    assert (lineage.family, lineage.pool) == (asked.family.id, "train")
    assert lineage.calls == tuple(f"demonstration-{prompt.digest()[:6]}-{draw}" for draw in range(3))
    assert {verdict["judge"] for verdict in lineage.verdicts} >= {"check must_match"}  # type: ignore[index, call-overload]


def test_the_tokens_of_a_row_are_those_of_all_its_draws(job: MakeJob, scenario: MakeScenario, made: Made) -> None:
    teacher = TemplateTeacher()
    [row] = made(Demonstrations(), job([scenario("step")]), teacher)
    [(_, prompt, params, draws)] = teacher.asked
    samples = [teacher._one("demonstration", prompt, params, draw) for draw in draws]
    assert row.lineage.tokens == sum(s.usage.prompt_tokens + s.usage.completion_tokens for s in samples)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_come_in_the_order_of_the_scenarios_whatever_the_teachers(
    job: MakeJob, scenario: MakeScenario, made: Made, seed: int
) -> None:
    noise = random.Random(seed)
    work = [scenario("step", message(Conversation(()), noise)) for _ in range(100)]
    quick = made(Demonstrations(), job(work, seed), TemplateTeacher())
    slow = made(Demonstrations(), job(work, seed), TemplateTeacher(slow=True))
    assert slow == quick
    assert [row.conversation.messages[0] for row in slow] == [s.prompt.messages[0] for s in work]  # type: ignore[union-attr]
