from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.training.advantages import group_advantages

NUMBERS = st.floats(-10, 10).map(lambda x: round(x, 3))


def of(rewards: list[float | None], **options: float) -> tuple[float | None, ...]:
    return group_advantages([{"r": r} for r in rewards], {"r": 1.0}, "grpo", options.get("floor", 1e-4)).values


def test_grpo_is_the_distance_from_the_mean_in_deviations() -> None:
    assert of([1.0, 2.0, 3.0]) == pytest.approx((-1.0, 0.0, 1.0))
    assert of([0.0, 0.0, 1.0]) == pytest.approx(
        (-1 / 3 / math.sqrt(1 / 3), -1 / 3 / math.sqrt(1 / 3), 2 / 3 / math.sqrt(1 / 3))
    )


def test_rloo_is_the_distance_from_the_mean_of_the_others() -> None:
    found = group_advantages([{"r": r} for r in (1.0, 2.0, 6.0)], {"r": 1.0}, "rloo", 1e-4)
    assert found.values == pytest.approx((1 - 4.0, 2 - 3.5, 6 - 1.5))


@given(st.lists(NUMBERS, min_size=2, max_size=8), st.floats(0.1, 5))
def test_a_weight_scales_advantages_however_a_reward_is_spread(rewards: list[float], weight: float) -> None:
    plain = group_advantages([{"r": r} for r in rewards], {"r": 1.0}, "grpo", 1e-9).values
    scaled = group_advantages([{"r": 100 * r + 3} for r in rewards], {"r": weight}, "grpo", 1e-9).values
    assert scaled == pytest.approx([weight * (value or 0.0) for value in plain], abs=1e-6)
    assert math.fsum(value or 0.0 for value in plain) == pytest.approx(0.0, abs=1e-6)


def test_each_reward_is_normalised_before_its_weight_applies() -> None:
    """Summed first, the reward of the larger numbers would decide alone."""
    rewards = [{"small": 0.01, "large": 100.0}, {"small": 0.03, "large": 0.0}]
    found = group_advantages(rewards, {"small": 1.0, "large": 1.0}, "grpo", 1e-9)
    assert found.values == pytest.approx((0.0, 0.0), abs=1e-9)
    assert found.spread


def test_the_floor_keeps_a_reward_that_hardly_tells_apart_small() -> None:
    assert of([0.5, 0.5001], floor=0.01) == pytest.approx((-0.005, 0.005))


@pytest.mark.parametrize("rewards", [[1.0, 1.0, 1.0], [0.1 + 0.2] * 5])
def test_a_group_without_spread_says_so(rewards: list[float]) -> None:
    found = group_advantages([{"r": r} for r in rewards], {"r": 1.0}, "grpo", 1e-4)
    assert not found.spread
    assert found.values == (0.0,) * len(rewards)


def test_a_reply_without_a_score_is_left_out_and_not_guessed() -> None:
    assert of([1.0, None, 3.0, float("nan"), 5.0]) == (
        pytest.approx(-1.0),
        None,
        pytest.approx(0.0),
        None,
        pytest.approx(1.0),
    )
    assert of([1.0, None]) == (None, None)


def test_a_reward_of_weight_0_is_neither_needed_nor_counted() -> None:
    rewards: list[dict[str, float | None]] = [{"a": 1.0, "b": None}, {"a": 2.0, "b": 7.0}]
    found = group_advantages(rewards, {"a": 1.0, "b": 0.0}, "grpo", 1e-4)
    assert found.values == pytest.approx((-math.sqrt(0.5), math.sqrt(0.5)))
    assert group_advantages(rewards, {"a": 0.0, "b": 0.0}, "grpo", 1e-4).values == (None, None)
