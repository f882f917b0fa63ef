from __future__ import annotations

import numpy as np
import pytest

from ethos.statistics.means import stratified_mean
from ethos.statistics.proportions import wilson_interval


def test_one_clause_of_independent_prompts_gets_nearly_wilsons_interval() -> None:
    scores = {f"p{i}": float(i < 5) for i in range(20)}
    mean = stratified_mean({"c": scores}, {p: p for p in scores})
    low, high = wilson_interval(5, 20)
    assert mean.estimate == 0.25
    assert (mean.low, mean.high) == pytest.approx((low, high), abs=0.02)


def test_every_clause_weighs_the_same() -> None:
    scores = {"many": {f"m{i}": 1.0 for i in range(30)}, "few": {"f": 0.0}, "none": {}}
    mean = stratified_mean(scores, {p: p for prompts in scores.values() for p in prompts})
    assert (mean.estimate, mean.n, mean.clusters) == (0.5, 31, 31)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_agreement_of_all_prompts_leaves_width(value: float) -> None:
    scores = {f"p{i}": value for i in range(20)}
    mean = stratified_mean({"c": scores}, {p: p for p in scores})
    assert mean.high - mean.low == pytest.approx(0.161, abs=0.001)


def test_families_that_agree_within_widen_the_interval() -> None:
    scores = {f"{family}.{i}": float(family % 2) for family in range(20) for i in range(5)}
    grouped = stratified_mean({"c": scores}, {p: p.split(".")[0] for p in scores})
    independent = stratified_mean({"c": scores}, {p: p for p in scores})
    assert grouped.high - grouped.low > 1.8 * (independent.high - independent.low)


def test_a_family_that_outweighs_the_others_widens_the_interval() -> None:
    scores = {f"large.{i}": 1.0 for i in range(40)} | {f"{family}.0": float(family % 2) for family in range(20)}
    mean = stratified_mean({"c": scores}, {p: p.split(".")[0] for p in scores})
    low, high = wilson_interval(mean.estimate * 21, 21)
    assert mean.high - mean.low > 1.3 * (high - low)


def test_no_scores_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no scores"):
        stratified_mean({"c": {}}, {})


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_coverage_is_close_to_95_percent(rate: float) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        scores = {str(c): {f"{c}.{i}": float(rng.random() < rate) for i in range(20)} for c in range(5)}
        mean = stratified_mean(scores, {p: p for prompts in scores.values() for p in prompts})
        covered += mean.low <= rate <= mean.high
    assert covered / 300 >= 0.91
