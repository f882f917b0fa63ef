from __future__ import annotations

import pytest

from ethos.training.guard import FEWEST, WINDOW, Diverged, SpikeGuard


def test_a_norm_far_above_the_median_of_the_last_ones_is_a_spike() -> None:
    guard = SpikeGuard([1.0, 2.0, 100.0, 3.0, 2.0])
    guard.check(6, 20.0, factor=10.0)
    with pytest.raises(
        Diverged, match=r"step 6: the gradient's norm is 20\.1, over 10 times the median of the last 5 \(2\)"
    ):
        guard.check(6, 20.1, factor=10.0)


def test_a_factor_of_0_checks_nothing_and_too_few_norms_say_nothing() -> None:
    SpikeGuard([1.0] * WINDOW).check(30, 1e9, factor=0.0)
    SpikeGuard([1.0] * (FEWEST - 1)).check(5, 1e9, factor=2.0)


def test_only_the_last_norms_count_and_steps_on_nothing_dont() -> None:
    guard = SpikeGuard([1.0] * 50)
    for _ in range(WINDOW):
        guard.add(100.0)
        guard.add(0.0)
    guard.check(99, 150.0, factor=2.0)
