from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from ethos.statistics.auc import auc_with_interval, best_cut


def test_auc_is_the_share_of_pairs_in_order_with_ties_as_half() -> None:
    assert auc_with_interval([0.9, 0.5], [0.1, 0.5]).estimate == pytest.approx(3.5 / 4)


def test_perfect_separation_of_eight_and_eight_has_a_sensible_lower_bound() -> None:
    auc = auc_with_interval([0.9] * 8, [0.1] * 8)
    assert (auc.estimate, auc.high) == (1.0, 1.0)
    assert auc.low == pytest.approx(0.7556, abs=1e-3)


def test_the_worst_and_the_best_mirror_each_other() -> None:
    best, worst = auc_with_interval([1.0] * 8, [0.0] * 8), auc_with_interval([0.0] * 8, [1.0] * 8)
    assert (worst.low, worst.high) == pytest.approx((1 - best.high, 1 - best.low))


def test_scores_that_tell_nothing_have_an_interval_around_a_half() -> None:
    auc = auc_with_interval([0.5] * 8, [0.5] * 8)
    assert auc.estimate == 0.5
    assert 0.5 - auc.low == pytest.approx(auc.high - 0.5)


def test_an_auc_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="good and bad"):
        auc_with_interval([1.0], [])


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_coverage_is_close_to_95_percent(shift: float) -> None:
    rng = np.random.default_rng(2)
    truth = norm.cdf(shift / 2**0.5)
    aucs = [auc_with_interval(list(rng.normal(shift, size=8)), list(rng.normal(size=8))) for _ in range(300)]
    assert np.mean([a.low <= truth <= a.high for a in aucs]) >= 0.92


def test_the_cut_is_the_midpoint_between_separable_classes() -> None:
    assert best_cut([0.8, 0.9], [0.1, 0.3]) == pytest.approx(0.55)


def test_the_cut_gives_the_best_balanced_accuracy() -> None:
    good, bad = [0.2, 0.6, 0.7, 0.9], [0.1, 0.3, 0.4, 0.65]
    cut = best_cut(good, bad)
    accuracies = [(np.mean(np.array(good) >= c) + np.mean(np.array(bad) < c)) / 2 for c in np.linspace(0, 1, 401)]
    assert (np.mean(np.array(good) >= cut) + np.mean(np.array(bad) < cut)) / 2 == pytest.approx(max(accuracies))


def test_of_equal_cuts_the_one_in_the_widest_gap_is_taken() -> None:
    assert best_cut([0.10, 0.9], [0.09, 0.11]) == pytest.approx((0.11 + 0.9) / 2)


def test_no_cut_parts_scores_that_only_noise_tells_apart() -> None:
    tie = 0.7772998
    cut = best_cut([tie + 1e-9, 0.8, 0.9], [tie, tie - 1e-9, 0.6])
    assert (tie + 1e-9 >= cut) is (tie - 1e-9 >= cut)


def test_a_cut_exists_where_all_scores_are_the_same() -> None:
    assert best_cut([0.5], [0.5, 0.5]) == 0.5
