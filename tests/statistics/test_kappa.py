from __future__ import annotations

import numpy as np
import pytest

from ethos.statistics.kappa import cohen_kappa


def test_kappa_of_a_textbook_table() -> None:
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    kappa = cohen_kappa(a, b)
    assert kappa is not None
    assert kappa.estimate == pytest.approx(0.4)
    assert kappa.agreement == pytest.approx(0.7)
    assert kappa.low < 0.4 < kappa.high


def test_perfect_agreement_leaves_width() -> None:
    kappa = cohen_kappa([True, False] * 8, [True, False] * 8)
    assert kappa is not None
    assert (kappa.estimate, kappa.high) == pytest.approx((1.0, 1.0))
    assert 0.5 < kappa.low < 0.8


def test_one_and_the_same_label_everywhere_has_no_kappa() -> None:
    assert cohen_kappa([True] * 9, [True] * 9) is None


def test_raters_of_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="two labels an item"):
        cohen_kappa([True], [True, False])


@pytest.mark.parametrize(("base", "accuracy"), [(0.5, 0.95), (0.5, 0.6), (0.3, 0.85)])
def test_coverage_is_close_to_95_percent(base: float, accuracy: float) -> None:
    rng = np.random.default_rng(4)
    second = base * accuracy + (1 - base) * (1 - accuracy)
    chance = base * second + (1 - base) * (1 - second)
    truth = (accuracy - chance) / (1 - chance)
    covered = trials = 0
    for _ in range(400):
        first = rng.random(60) < base
        kappa = cohen_kappa(first.tolist(), np.where(rng.random(60) < accuracy, first, ~first).tolist())
        if kappa is not None:
            trials += 1
            covered += kappa.low <= truth <= kappa.high
    assert covered / trials >= 0.92
