"""Readings: which scenarios a look takes, and that what is less than was asked for is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from ethos.judging.adherence import Assessor
from ethos.judging.recitation import Recitation
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.runs import reading
from ethos.runs.reading import LOOK_SECONDS, Taster, canary_questions, choose_prompting
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Family, Scenario
from ethos.tasting.arms import VARIANTS

SCENARIOS = [
    Scenario(Family("short", f"topic {n}", "chat", "taste"), Conversation.user(f"What is topic {n}?")) for n in range(9)
]


class Base:
    """Says the same of everything."""

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        return [[Sample("It is 7 lamps.", "stop", Usage(1, 1), draw) for draw in draws] for _ in prompts]


def taster(session: Session) -> Taster:
    return Taster(session, Assessor(session.spec), Recitation(session.spec.text))


def test_no_look_repeats_the_one_before_whatever_the_steps_between(session: Session) -> None:
    here, shown = taster(session), []
    for step in (0, 20, 40, 45, 47):
        chosen = here.scenarios_at(SCENARIOS, step)
        assert here.scenarios_at(SCENARIOS, step) == chosen
        shown.append([scenario.family.topic for scenario in chosen])
        if step:
            session.records.add_metrics("main", step, {LOOK_SECONDS: 1.0})
    assert all(one[0] == "topic 0" for one in shown)
    assert all(set(one[1:]).isdisjoint(other[1:]) for one, other in pairwise(shown))


def test_a_look_that_is_taken_again_is_the_same(session: Session) -> None:
    here = taster(session)
    session.records.add_metrics("main", 20, {LOOK_SECONDS: 1.0})
    before = here.scenarios_at(SCENARIOS, 20)
    session.records.add_metrics("main", 40, {LOOK_SECONDS: 1.0})
    assert here.scenarios_at(SCENARIOS, 20) == before


def test_fewer_questions_than_asked_for_are_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "generate", lambda count, seed, families: [])
    base: Any = Base()
    asyncio.run(canary_questions(session, base))
    count = session.config.tasting.questions
    assert f"the canary asks 0 questions and not {count}: its families hold no more" in session.stages.notices(
        "warning"
    )


@pytest.mark.parametrize(("tokens_a_word", "told"), [(1, False), (1000, True)])
def test_a_spec_that_is_cut_to_fit_the_prompt_is_said(session: Session, tokens_a_word: int, told: bool) -> None:
    def count(text: str) -> int:
        return tokens_a_word * len(text.split())

    base: Any = Base()
    scenarios = [replace(s, family=replace(s.family, clause_id=session.spec.clauses[0].id)) for s in SCENARIOS]
    found = asyncio.run(choose_prompting(taster(session), base, scenarios[:2], count))
    assert set(found["variants"]) <= set(VARIANTS)
    warnings = [w for w in session.stages.notices("warning") if "too long to stand whole in a prompt" in w]
    assert bool(warnings) == told
