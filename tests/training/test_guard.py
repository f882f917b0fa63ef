from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ethos.training.guard import FEWEST, WINDOW, Diverged, Recent


def recent(*norms: float, mixture: str = "a") -> Recent:
    found = Recent()
    for norm in norms:
        found = found.then(mixture, norm)
    return found


def test_a_norm_far_above_the_median_of_the_last_ones_is_a_spike() -> None:
    guard = recent(1.0, 2.0, 100.0, 3.0, 2.0)
    guard.require_usual(6, "a", 20.0, factor=10.0, clip=1.0)
    with pytest.raises(Diverged, match=r"step 6: .* is 20\.1, over 10 times the median of the last 5 \(2\)"):
        guard.require_usual(6, "a", 20.1, factor=10.0, clip=1.0)


def test_a_factor_of_0_checks_nothing_and_too_few_norms_say_nothing() -> None:
    recent(*[1.0] * WINDOW).require_usual(30, "a", 1e9, factor=0.0, clip=1.0)
    recent(*[1.0] * (FEWEST - 1)).require_usual(5, "a", 1e9, factor=2.0, clip=1.0)


def test_a_gradient_that_is_not_even_clipped_does_no_harm() -> None:
    recent(*[1e-6] * WINDOW).require_usual(30, "a", 0.9, factor=2.0, clip=1.0)


def test_only_the_last_norms_count_and_steps_on_nothing_dont() -> None:
    guard = recent(*[1.0] * 50)
    for _ in range(WINDOW):
        guard = guard.then("a", 100.0).then("a", 0.0)
    guard.require_usual(99, "a", 150.0, factor=2.0, clip=1.0)


def test_another_mixture_is_not_measured_by_the_one_before() -> None:
    guard = recent(*[1.0] * WINDOW)
    guard.require_usual(30, "b", 1e9, factor=2.0, clip=1.0)
    guard.then("b", 50.0).require_usual(31, "b", 1e9, factor=2.0, clip=1.0)


@pytest.mark.parametrize("norm", [float("inf"), float("nan")])
def test_a_norm_that_is_not_finite_is_no_spike(norm: float) -> None:
    """What mends a spike would not mend it."""
    recent(*[1.0] * WINDOW).require_usual(30, "a", norm, factor=2.0, clip=1.0)


def test_it_survives_a_checkpoint() -> None:
    guard = recent(1.0, 0.1 + 0.2)
    assert Recent.of(json.loads(json.dumps(asdict(guard)))) == guard
