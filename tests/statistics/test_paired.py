from __future__ import annotations

import numpy as np
import pytest

from ethos.statistics import paired
from ethos.statistics.paired import paired_difference, stratified_difference

Scores = dict[str, float]


def _arms(rng: np.random.Generator, n: int, base: float, trained: float) -> tuple[Scores, Scores, dict[str, str]]:
    prompts = [f"p{i}" for i in range(n)]
    b = {p: float(rng.random() < base) for p in prompts}
    a = {p: float(rng.random() < trained) for p in prompts}
    return a, b, {p: p for p in prompts}


def test_the_estimate_is_a_minus_b_over_the_prompts_both_have() -> None:
    difference = paired_difference(
        {"x": 1.0, "y": 1.0, "z": 0.0, "only_a": 0.0},
        {"x": 0.0, "y": 1.0, "z": 0.0, "only_b": 1.0},
        {"x": "f", "y": "g", "z": "h"},
    )
    assert difference.estimate == pytest.approx(1 / 3)
    assert (difference.n, difference.clusters) == (3, 3)
    assert difference.low < 1 / 3 < difference.high


def test_equal_arguments_give_equal_intervals_and_the_seed_moves_them() -> None:
    a, b, clusters = _arms(np.random.default_rng(0), 40, 0.3, 0.6)
    assert paired_difference(a, b, clusters) == paired_difference(a, b, clusters)
    assert paired_difference(a, b, clusters) != paired_difference(a, b, clusters, seed=1)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)])
def test_an_interval_has_width_where_all_prompts_agree(a: float, b: float) -> None:
    prompts = {f"p{i}": f"p{i}" for i in range(20)}
    difference = paired_difference(dict.fromkeys(prompts, a), dict.fromkeys(prompts, b), prompts)
    assert difference.high - difference.low > 0.1
    assert difference.low <= difference.estimate == a - b <= difference.high
    assert difference.low >= -1
    assert difference.high <= 1


def test_prompts_of_a_family_count_as_one_where_they_agree() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(20) < 0.5
    prompts = [f"{family}.{i}" for family in range(20) for i in range(5)]
    a = {p: float(scores[int(p.split(".")[0])]) for p in prompts}
    b = dict.fromkeys(prompts, 0.0)
    by_family = paired_difference(a, b, {p: p.split(".")[0] for p in prompts})
    as_if_independent = paired_difference(a, b, {p: p for p in prompts})
    assert by_family.high - by_family.low > 1.8 * (as_if_independent.high - as_if_independent.low)


def test_every_clause_weighs_the_same_however_many_prompts_it_has() -> None:
    many = {f"m{i}": 1.0 for i in range(90)}
    few = {f"f{i}": 0.0 for i in range(10)}
    zeros = {clause: dict.fromkeys(prompts, 0.0) for clause, prompts in (("many", many), ("few", few))}
    difference = stratified_difference({"many": many, "few": few}, zeros, {p: p for p in (*many, *few)})
    assert difference.estimate == pytest.approx(0.5)
    assert difference.n == 100


def test_clauses_of_one_topic_vary_as_topics_of_one_clause_would() -> None:
    rng = np.random.default_rng(5)
    scores = {f"c{i}": {f"p{i}": float(rng.random() < 0.5)} for i in range(50)}
    zeros = {clause: dict.fromkeys(prompts, 0.0) for clause, prompts in scores.items()}
    topics = {f"p{i}": f"t{i}" for i in range(50)}
    alone = stratified_difference(scores, zeros, topics)
    together = stratified_difference(
        {"c": {p: s for prompts in scores.values() for p, s in prompts.items()}},
        {"c": dict.fromkeys(topics, 0.0)},
        topics,
    )
    assert alone.high - alone.low == pytest.approx(together.high - together.low)


def test_a_clause_without_a_shared_prompt_is_left_out() -> None:
    difference = stratified_difference(
        {"c": {"x": 1.0}, "d": {"y": 1.0}}, {"c": {"x": 0.0}, "d": {"z": 0.0}}, {"x": "x", "y": "y", "z": "z"}
    )
    assert difference.estimate == 1.0
    assert difference.n == 1


def test_arms_without_a_shared_prompt_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="share no prompt"):
        paired_difference({"x": 1.0}, {"y": 1.0}, {"x": "x", "y": "y"})


def _coverage(n: int, base: float, trained: float, clauses: int, trials: int) -> float:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(trials):
        arms = [_arms(rng, n, base, trained) for _ in range(clauses)]
        a = {str(k): {f"{k}/{p}": s for p, s in arm[0].items()} for k, arm in enumerate(arms)}
        b = {str(k): {f"{k}/{p}": s for p, s in arm[1].items()} for k, arm in enumerate(arms)}
        difference = stratified_difference(a, b, {p: p for scores in a.values() for p in scores})
        covered += difference.low <= trained - base <= difference.high
    return covered / trials


def test_the_interval_covers_where_a_plain_bootstrap_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 1000)
    assert _coverage(20, 0.02, 0.97, clauses=1, trials=200) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("clauses", [1, 9])
@pytest.mark.parametrize("n", [20, 40, 400])
@pytest.mark.parametrize(("base", "trained"), [(0.01, 0.02), (0.02, 0.9), (0.1, 0.5), (0.5, 0.5), (0.6, 0.8)])
def test_coverage_is_close_to_95_percent(
    n: int, base: float, trained: float, clauses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 1000)
    assert _coverage(n, base, trained, clauses, trials=300) >= 0.91


@pytest.mark.slow
def test_coverage_holds_where_prompts_of_a_family_resemble_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 1000)
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        rates = {str(f): (rng.beta(2, 1), rng.beta(1, 2)) for f in range(20)}
        prompts = {f"{family}.{i}": family for family in rates for i in range(4)}
        a = {p: float(rng.random() < rates[f][0]) for p, f in prompts.items()}
        b = {p: float(rng.random() < rates[f][1]) for p, f in prompts.items()}
        difference = paired_difference(a, b, prompts)
        covered += difference.low <= 1 / 3 <= difference.high
    assert covered / 400 >= 0.92
