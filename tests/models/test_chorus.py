"""Several models in one part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ethos.models.chorus import Chorus, Voice
from ethos.models.endpoints import EndpointFailed
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.store.budget import BudgetSpent

PARAMS = SamplingParams(max_tokens=8, seed=3)


@dataclass
class Singer:
    """Says its name; once `fails` it raises that."""

    name: str
    fails: Exception | None = None
    knows: set[int] = field(default_factory=set)
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def answered(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> set[int]:
        """As `Remembering`."""
        return self.knows & set(draws)

    @property
    def fingerprint(self) -> str:
        return self.name

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        self.asked.append(tuple(draws))
        if self.fails is not None:
            raise self.fails
        return [Sample(self.name, "stop", Usage(1, 1), draw, call=f"{self.name}-{draw}") for draw in draws]


def drawn(chorus: Chorus, prompts: int = 50, draws: int = 8) -> list[Sample]:
    async def run() -> list[Sample]:
        asked = (chorus.sample(Conversation.user(f"{n}?"), PARAMS, range(draws)) for n in range(prompts))
        return [sample for samples in await asyncio.gather(*asked) for sample in samples]

    return asyncio.run(run())


def chorus_of(*voices: tuple[Singer, float], told: list[str] | None = None) -> Chorus:
    return Chorus([Voice(*voice) for voice in voices], (told if told is not None else []).append)


def test_draws_are_shared_out_by_weight_and_each_names_its_author() -> None:
    high, low = Singer("high"), Singer("low")
    samples = drawn(chorus_of((high, 3.0), (low, 1.0)))
    counts = Counter(sample.author for sample in samples)
    assert counts["high"] + counts["low"] == 400
    assert 270 <= counts["high"] <= 330
    assert all(sample.text == sample.author for sample in samples)
    assert [sample.draw for sample in samples] == list(range(8)) * 50
    assert len(high.asked) <= 50  # draws of one prompt together


def test_the_same_draw_is_the_same_voices_again_whatever_else_is_asked() -> None:
    alone, all_at_once = (
        [sample.author for sample in drawn(chorus_of((Singer("high"), 1.0), (Singer("low"), 1.0)), draws=draws)]
        for draws in (1, 8)
    )
    assert alone == all_at_once[::8]


def test_one_that_goes_down_is_set_aside_once_and_the_others_draw_in_its_place() -> None:
    told: list[str] = []
    down, up, other = Singer("down", EndpointFailed("down: no answer")), Singer("up"), Singer("other")
    chorus = chorus_of((down, 2.0), (up, 1.0), (other, 1.0), told=told)
    samples = drawn(chorus)
    assert {sample.author for sample in samples} == {"up", "other"}
    assert len(samples) == 400
    assert told == ["down is set aside, and up, other draws in its place: down: no answer"]
    before = len(down.asked)
    drawn(chorus)
    assert len(down.asked) == before


def test_only_the_draws_of_a_lost_voice_move() -> None:
    def authors(fails: bool) -> list[str]:
        lost = Singer("lost", EndpointFailed("lost: no answer") if fails else None)
        return [sample.author for sample in drawn(chorus_of((lost, 1.0), (Singer("one"), 1.0), (Singer("two"), 2.0)))]

    before, after = authors(fails=False), authors(fails=True)
    assert {new for old, new in zip(before, after, strict=True) if old == "lost"} == {"one", "two"}
    assert all(old == new for old, new in zip(before, after, strict=True) if old != "lost")


def test_what_one_answered_while_another_was_down_is_not_asked_again_when_that_is_up() -> None:
    high, low = Singer("high"), Singer("low", knows={2, 5})
    samples = drawn(chorus_of((high, 1e9), (low, 1.0)), prompts=1)
    assert [sample.author for sample in samples] == ["low" if draw in (2, 5) else "high" for draw in range(8)]


def test_where_none_is_left_the_run_ends_with_the_reason() -> None:
    down = [(Singer(name, EndpointFailed(f"{name}: no answer")), 1.0) for name in ("one", "two")]
    with pytest.raises(EndpointFailed, match="no answer"):
        drawn(chorus_of(*down))


def test_what_is_no_failure_of_an_endpoint_ends_the_run() -> None:
    told: list[str] = []
    with pytest.raises(BudgetSpent):
        drawn(chorus_of((Singer("poor", BudgetSpent("spent")), 1.0), (Singer("up"), 1.0), told=told))
    assert told == []


def test_its_fingerprint_is_that_of_its_voices_and_their_weights() -> None:
    one, same, other = (chorus_of((Singer("high"), 1.0), (Singer("low"), weight)) for weight in (1.0, 1.0, 2.0))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.name == "chorus of high, low"
