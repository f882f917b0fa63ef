"""Writing prompts with a teacher that is a function of what it is asked."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from ethos.errors import EthosError
from ethos.judging.cases import odds_of_case
from ethos.spec.conversation import Conversation
from ethos.spec.language import words
from ethos.spec.scenarios import POOLS, Scenario
from ethos.spec.types import Example, Spec
from ethos.store.config.data import ScenariosConfig
from ethos.synthesis.nearness import Taken
from ethos.synthesis.scenarios import name_families, write_scenarios
from ethos.synthesis.sizes import plan_scenarios
from template_teacher import TemplateTeacher, message, phrase

CONFIG = ScenariosConfig(
    train_per_clause=6, taste_per_clause=5, gate_per_clause=5, sealed_per_checked_clause=8, contrast_per_clause=3
)


def written(
    spec: Spec,
    teacher: TemplateTeacher,
    seed: int = 0,
    pools: Any = POOLS,
    taken: Sequence[str] = (),
    failures: list[str] | None = None,
) -> list[Scenario]:
    """`failures` takes what was told of them; without it there may be none."""

    def note_failure(text: str) -> None:
        assert failures is not None, text
        failures.append(text)

    async def both() -> list[Scenario]:
        families = await name_families(
            spec, spec.clauses, CONFIG, seed, teacher, pools, lambda: None, note_failure, taken
        )
        return await write_scenarios(spec, families, CONFIG, seed, teacher, lambda: None, taken)

    return asyncio.run(both())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    spoken = [word.casefold() for word in words(text)]
    return {tuple(spoken[start : start + length]) for start in range(len(spoken) - length + 1)}


def test_each_clause_gets_the_planned_prompts_in_each_pool(wren: Spec) -> None:
    found = Counter((s.clause_id, s.family.pool, s.family.contrast) for s in written(wren, TemplateTeacher()))
    planned: Counter[tuple[str, str, bool]] = Counter()
    for clause in wren.clauses:
        plan = plan_scenarios(clause, CONFIG)
        planned.update({(clause.id, pool, False): count for pool, count in plan.prompts.items()})
        planned.update({(clause.id, pool, True): count for pool, count in plan.contrasts.items()})
    assert found == planned


def test_a_clause_that_always_applies_has_no_contrasts(wren: Spec) -> None:
    contrasts = {s.clause_id for s in written(wren, TemplateTeacher()) if s.family.contrast}
    assert contrasts == {"name", "step"}


def test_all_families_are_distinct_and_no_topic_is_in_two_pools(wren: Spec) -> None:
    scenarios = written(wren, TemplateTeacher())
    assert len({s.family.id for s in scenarios}) == len(scenarios)
    for clause in wren.clauses:
        pools = [{s.family.topic for s in scenarios if s.clause_id == clause.id and s.family.pool == p} for p in POOLS]
        assert all(not one & other for one, other in combinations(pools, 2))


def test_no_two_prompts_share_a_long_run_of_words(wren: Spec) -> None:
    def alike(prompt: Conversation, noise: random.Random) -> str:
        """Half of all messages are one of five."""
        return message(prompt, random.Random(noise.randrange(5)) if noise.random() < 0.5 else noise)

    teacher = TemplateTeacher()
    teacher.answers["message"] = alike
    every = [runs(s.prompt.last_user, 8) for s in written(wren, teacher)]
    assert all(not one & other for one, other in combinations(every, 2))


def test_no_prompt_is_an_example_of_the_spec(wren: Spec) -> None:
    quoted = "How does the kettle garden island of quiet winter meadows meet us?"
    clauses = (replace(wren.clauses[0], good=(Example("Like that.", quoted),)), *wren.clauses[1:])
    teacher = TemplateTeacher()
    teacher.answers["message"] = lambda prompt, noise: quoted if noise.random() < 0.5 else message(prompt, noise)
    texts = [s.prompt.last_user for s in written(replace(wren, clauses=clauses), teacher)]
    assert texts
    assert quoted not in texts


def test_an_unusable_message_is_asked_for_again(wren: Spec) -> None:
    teacher = TemplateTeacher()
    teacher.answers["message"] = lambda prompt, noise: (
        "I'm sorry to hear that. How can I help you?" if noise.random() < 0.5 else message(prompt, noise)
    )
    scenarios = written(wren, teacher)
    plain = sum(not s.family.contrast for s in scenarios)
    planned = sum(sum(plan_scenarios(c, CONFIG).prompts.values()) for c in wren.clauses)
    assert 0.95 * planned < plain <= planned
    assert teacher.count("message") > plain
    assert not any("help you" in s.prompt.last_user for s in scenarios)


@pytest.mark.parametrize(
    ("asked", "answer", "said"),
    [
        (
            "message",
            "As an AI, I'm happy to help!",
            "the teacher template-teacher wrote no usable message for 96 of 108",
        ),
        (
            "topics",
            "1. a rainy day\n2. A rainy day.\n3. a sunny day",
            "clause name: the teacher template-teacher named 2 distinct subjects",
        ),
        (
            "plain_questions",
            "1. Is it going to rain?\n2. Is it going to snow?",
            "of 2 plain questions that the teacher .* lower scenarios.contrast_per_clause",
        ),
    ],
)
def test_a_teacher_that_always_answers_the_same_is_an_error_that_says_what_is_missing(
    wren: Spec, asked: str, answer: str, said: str
) -> None:
    teacher = TemplateTeacher()
    teacher.answers[asked] = lambda prompt, noise: answer
    with pytest.raises(EthosError, match=said):
        written(wren, teacher)


def test_a_clause_of_which_the_teacher_can_think_nothing_is_left_out_with_a_word(wren: Spec) -> None:
    teacher = TemplateTeacher()
    failures: list[str] = []
    named = teacher.answers["topics"]
    teacher.answers["topics"] = lambda prompt, noise: (
        "1. rain" if "broad question" in prompt.last_user else named(prompt, noise)
    )
    scenarios = written(wren, teacher, failures=failures)
    assert {s.clause_id for s in scenarios} == {clause.id for clause in wren.clauses} - {"brevity"}
    [said] = failures
    assert said.startswith("clause brevity: the teacher template-teacher named 1 distinct subjects")
    assert said.endswith("it gets no scenario")


def test_a_clause_without_enough_contrasts_gets_none(wren: Spec) -> None:
    teacher = TemplateTeacher()
    failures: list[str] = []
    teacher.answers["plain_questions"] = lambda prompt, noise: "\n".join(
        f"{n}. Is the {phrase(noise, 4)} a problem?" for n in range(1, 11)
    )
    contrasts = {s.clause_id for s in written(wren, teacher, failures=failures) if s.family.contrast}
    assert contrasts == {"name"}
    assert failures == ["clause step: too few plain questions can stand as its contrasts, and it gets none"]


def test_no_contrast_is_given_twice(wren: Spec) -> None:
    contrasts = [s.prompt.last_user for s in written(wren, TemplateTeacher()) if s.family.contrast]
    assert len(set(contrasts)) == len(contrasts) == 2 * 2 * 3


def test_a_message_that_was_cut_off_is_not_kept(wren: Spec) -> None:
    teacher = TemplateTeacher()
    long = " ".join(f"word{n}" for n in range(300))
    teacher.answers["message"] = lambda prompt, noise: long if noise.random() < 0.3 else message(prompt, noise)
    assert not any("word0" in s.prompt.last_user for s in written(wren, teacher))


def test_a_teacher_that_does_not_say_whether_a_message_is_a_case_gives_no_scenario(wren: Spec) -> None:
    teacher = TemplateTeacher()
    teacher.answers["case"] = lambda prompt, noise: "I can't tell"
    with pytest.raises(EthosError, match=r"wrote no usable message for \d+ of \d+ scenarios"):
        written(wren, teacher)


def test_scenarios_are_the_same_in_whatever_order_the_teacher_answers(wren: Spec) -> None:
    assert written(wren, TemplateTeacher(slow=True)) == written(wren, TemplateTeacher())


def test_another_scenario_seed_deals_and_writes_others(wren: Spec) -> None:
    assert not set(written(wren, TemplateTeacher(), seed=1)) & set(written(wren, TemplateTeacher(), seed=0))


def test_a_pool_that_is_not_needed_is_not_written(wren: Spec) -> None:
    teacher = TemplateTeacher()
    assert {s.family.pool for s in written(wren, teacher, pools=("train",))} == {"train"}
    assert teacher.count("message") == 6 * len(wren.clauses)


def test_pools_written_later_have_the_families_they_would_have_had_at_once(wren: Spec) -> None:
    at_once = [s.family for s in written(wren, TemplateTeacher()) if s.family.pool == "gate"]
    later = [s.family for s in written(wren, TemplateTeacher(), pools=("gate",))]
    assert later == at_once


def test_the_form_of_the_message_follows_its_context(wren: Spec) -> None:
    teacher = TemplateTeacher()
    written(wren, teacher, pools=("taste",))
    forms = {c.name: c.instruction for c in CONFIG.contexts}
    asked = [prompt.last_user for kind, prompt, _, _ in teacher.asked if kind == "message"]
    assert {form for text in asked for name, form in forms.items() if form in text} == {
        forms[name] for name in ("chat", "email", "forum")
    }


def test_a_contrast_is_a_question_without_a_word_of_the_clauses_case(wren: Spec) -> None:
    def mostly_spoilt(prompt: Conversation, noise: random.Random) -> str:
        spoilt = [f"{10 + n}. Which problem would a {phrase(noise)} at home have?" for n in range(4)]
        spoilt += [f"{20 + n}. Somebody tells of a {phrase(noise)}." for n in range(4)]
        return "\n".join([*spoilt, f"1. {message(prompt, noise)}", f"2. {message(prompt, noise)}"])

    teacher = TemplateTeacher()
    teacher.answers["plain_questions"] = mostly_spoilt
    contrasts = [s for s in written(wren, teacher) if s.family.contrast]
    assert len(contrasts) == 2 * 2 * 3
    assert all(s.prompt.last_user.endswith("?") for s in contrasts)
    assert not any("problem" in s.prompt.last_user for s in contrasts if s.clause_id == "step")


def test_of_several_messages_the_likeliest_case_of_its_clause_is_taken(wren: Spec) -> None:
    teacher = TemplateTeacher()
    teacher.answers["message"] = lambda prompt, noise: (
        f"Off the point: {message(prompt, noise)}" if noise.random() < 0.25 else message(prompt, noise)
    )
    teacher.answers["case"] = lambda prompt, noise: "No" if "Off the point" in prompt.last_user else "Yes"
    scenarios = [s for s in written(wren, teacher) if not s.family.contrast]
    assert len(scenarios) == sum(sum(plan_scenarios(c, CONFIG).prompts.values()) for c in wren.clauses)
    assert (
        sum("Off the point" in s.prompt.last_user for s in scenarios if wren.clause(s.clause_id).when) <= 5
    )  # a choice by chance would leave a quarter


def test_no_prompt_is_one_that_rows_are_made_of_elsewhere(wren: Spec) -> None:
    first = [s.prompt.last_user for s in written(wren, TemplateTeacher()) if not s.family.contrast]
    again = [s.prompt.last_user for s in written(wren, TemplateTeacher(), taken=first) if not s.family.contrast]
    assert len(again) == len(first)
    assert not set(first) & set(again)


def test_a_message_that_is_taken_already_is_not_judged(wren: Spec) -> None:
    judged: list[str] = []
    teacher = TemplateTeacher()
    teacher.answers["case"] = lambda prompt, noise: judged.append(prompt.last_user) or "Yes"  # type: ignore[func-returns-value]
    written(wren, teacher)
    first = [s.prompt.last_user for s in written(wren, TemplateTeacher()) if not s.family.contrast]
    assert any(text in asked for text in first for asked in judged)
    judged.clear()
    written(wren, teacher, taken=first)
    assert judged
    assert not any(text in asked for text in first for asked in judged)


def test_a_message_that_is_no_case_of_its_clause_is_never_taken(wren: Spec) -> None:
    def sometimes(prompt: Conversation, noise: random.Random) -> str:
        return "No" if prompt.last_user.count("a") % 3 else "Yes"

    teacher = TemplateTeacher()
    teacher.answers["case"] = sometimes
    scenarios = [s for s in written(wren, teacher) if not s.family.contrast and wren.clause(s.clause_id).when]
    assert scenarios
    odds = [odds_of_case(teacher, wren.clause(s.clause_id), s.prompt.last_user) for s in scenarios]

    async def every() -> list[float]:
        return await asyncio.gather(*odds)

    assert min(asyncio.run(every())) == 1.0


@pytest.mark.parametrize(("may_differ", "context"), [(True, "email"), (False, "story")])
def test_a_message_of_another_form_is_taken_last_and_never_where_its_context_is_reserved(
    wren: Spec, may_differ: bool, context: str
) -> None:
    teacher = TemplateTeacher()
    teacher.answers["message"] = lambda prompt, noise: message(Conversation.user("no form"), noise)
    scenarios = written(wren, teacher)
    assert any(s.family.context == "phone" for s in scenarios)
    assert any(s.family.context == context for s in scenarios) is may_differ


def test_messages_have_the_form_of_their_context(wren: Spec) -> None:
    teacher = TemplateTeacher()
    teacher.answers["message"] = lambda prompt, noise: message(
        Conversation.user("no form") if noise.random() < 0.5 else prompt, noise
    ).upper()
    contexts = {context.name: context.to_context() for context in CONFIG.contexts}
    scenarios = [s for s in written(wren, teacher) if not s.family.contrast]
    fitting = [s for s in scenarios if contexts[s.family.context].fits(s.prompt.last_user)]
    assert len(fitting) > 0.95 * len(scenarios)
    assert all(s.prompt.last_user == s.prompt.last_user.lower() for s in scenarios if s.family.context == "phone")


def test_close_topics_are_in_one_pool(wren: Spec) -> None:
    def twins(prompt: Conversation, noise: random.Random) -> str:
        phrases = [phrase(noise) for _ in range(5)]
        return "\n".join(f"{n}. {text}" for n, text in enumerate([*phrases, *(f"a new {p}" for p in phrases)], start=1))

    teacher = TemplateTeacher()
    teacher.answers["topics"] = twins
    pools: dict[tuple[str, str], set[str]] = {}
    for scenario in written(wren, teacher):
        if not scenario.family.contrast:
            name = scenario.family.topic.removeprefix("a new ")
            pools.setdefault((scenario.clause_id, name), set()).add(scenario.family.pool)
    assert all(len(found) == 1 for found in pools.values())


def test_contrasts_are_the_questions_least_like_a_case(wren: Spec) -> None:
    teacher = TemplateTeacher()
    teacher.answers["plain_questions"] = lambda prompt, noise: "\n".join(
        f"{n}. {noise.choice(['Near', 'Far'])} {phrase(noise, 5)}?" for n in range(1, 11)
    )
    teacher.answers["case"] = lambda prompt, noise: "No" if "\nFar" in prompt.last_user else "Yes"
    contrasts = [s.prompt.last_user for s in written(wren, teacher) if s.family.contrast]
    assert contrasts
    assert all(text.startswith("Far") for text in contrasts)


def test_the_specs_own_messages_come_as_turns(wren: Spec) -> None:
    given = Example("I'm Wren.", "Hi there, and you are?")
    teacher = TemplateTeacher()
    written(replace(wren, clauses=(replace(wren.clauses[0], good=(given,)), *wren.clauses[1:])), teacher)
    turns = [turn.content for kind, prompt, _, _ in teacher.asked if kind == "message" for turn in prompt.messages]
    assert "Hi there, and you are?" in turns
    assert not any("Hi there, and you are?" in turn for turn in turns if turn != "Hi there, and you are?")


@pytest.mark.parametrize(("answer", "odds"), [("Yes", 1.0), ("No", 0.0), ("I can't tell", 0.5)])
def test_an_unclear_answer_speaks_neither_for_a_message_nor_for_a_contrast(
    wren: Spec, answer: str, odds: float
) -> None:
    teacher = TemplateTeacher()
    teacher.answers["case"] = lambda prompt, noise: answer
    assert asyncio.run(odds_of_case(teacher, wren.clause("name"), "Who are you?")) == odds


def test_no_contrast_comes_close_to_a_taken_text(wren: Spec) -> None:
    taken = [f"Hello, {s.prompt.last_user}" for s in written(wren, TemplateTeacher()) if s.family.contrast]
    again = [s.prompt.last_user for s in written(wren, TemplateTeacher(), taken=taken) if s.family.contrast]
    assert len(again) == len(taken)
    assert all(Taken(taken).add(text) for text in again)
