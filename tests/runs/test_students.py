"""Samples of the changing policy: drawn once, and read from the records ever after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ethos.models.cached import CachedModel
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import Bar
from ethos.runs.session import Session
from ethos.runs.students import FrozenStudent, RecordedPolicy
from ethos.spec.conversation import Conversation
from ethos.store.ledger import Totals

PARAMS = SamplingParams()
HELLO, BYE = Conversation.user("Hello?"), Conversation.user("Bye?")


@dataclass
class Changing:
    """Never says the same twice."""

    name = "changing"
    asked: list[tuple[Conversation, ...]] = field(default_factory=list)

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        self.asked.append(tuple(prompts))
        for _ in prompts:
            advance()
        said = f"answer {len(self.asked)} to "
        return [
            [Sample(f"{said}{p.last_user}", "stop", Usage(2, 3), d, (1, 2), (-0.5, -0.25)) for d in draws]
            for p in prompts
        ]


def drawn(policy: Changing, session: Session, prompts: list[Conversation], step: int = 4, **where: Any) -> list[Any]:
    recorded = RecordedPolicy(policy, session, "main", step, where.get("purpose", "taste"))  # type: ignore[arg-type]
    return asyncio.run(recorded.sample_batch(prompts, where.get("params", PARAMS), where.get("draws", (0,))))


def test_what_was_answered_once_is_read_back(session: Session) -> None:
    policy = Changing()
    first = drawn(policy, session, [HELLO, BYE])
    assert drawn(policy, session, [HELLO, BYE]) == first
    assert first[0][0] == Sample("answer 1 to Hello?", "stop", Usage(2, 3), 0, (1, 2), (-0.5, -0.25))
    assert policy.asked == [(HELLO, BYE)]


def test_only_what_is_missing_is_sampled(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO])
    drawn(policy, session, [HELLO, BYE])
    assert policy.asked == [(HELLO,), (BYE,)]


def test_a_prompt_that_comes_twice_is_sampled_once(session: Session) -> None:
    policy = Changing()
    one, other = drawn(policy, session, [HELLO, HELLO])
    assert one == other
    assert policy.asked == [(HELLO,)]


def test_another_step_purpose_draw_or_length_is_another_sample(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO])
    drawn(policy, session, [HELLO], step=5)
    drawn(policy, session, [HELLO], purpose="sealed")
    drawn(policy, session, [HELLO], draws=(1,))
    drawn(policy, session, [HELLO], params=SamplingParams(max_tokens=16))
    assert len(policy.asked) == 5


def test_each_prompt_counts_once_whether_it_was_answered_before_comes_twice_or_is_new(session: Session) -> None:
    policy, bar = Changing(), Bar("looking", None, "answers", 0, 0.0, lambda bar: None)
    drawn(policy, session, [HELLO])
    recorded = RecordedPolicy(policy, session, "main", 4, "taste")  # type: ignore[arg-type]
    asyncio.run(recorded.sample_batch([HELLO, BYE, BYE], PARAMS, advance=bar.advance))
    assert bar.done == 3


def test_what_the_policy_draws_is_in_the_ledger_once(session: Session) -> None:
    policy = Changing()
    drawn(policy, session, [HELLO, BYE, BYE], draws=(0, 1))
    drawn(policy, session, [HELLO, BYE], draws=(0, 1))
    assert session.ledger.totals() == {"policy": Totals(calls=4, prompt_tokens=8, completion_tokens=12)}


def test_a_text_is_scored_by_the_base_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from models import tiny

    def base() -> FrozenStudent:
        engine = tiny.engine(tiny.loaded())
        return FrozenStudent(engine, CachedModel(engine, session.cache, session.ledger, "student"))

    first = asyncio.run(base().score_text("A text"))
    again = base()
    monkeypatch.setattr(again.engine, "score_text", None)
    assert asyncio.run(again.score_text("A text")) == first
    assert len(first.token_ids) == len(" text")
    assert session.ledger.totals() == {
        "student": Totals(calls=2, cached=1, prompt_tokens=1, completion_tokens=len(" text"))
    }
