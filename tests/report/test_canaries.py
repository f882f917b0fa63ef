from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from ethos.report.canaries import compare_canaries
from ethos.report.inputs import CanaryReading
from ethos.statistics.perplexity import PassageLoss

QUESTIONS = {f"q{i}": i < 50 for i in range(100)}
BASE = CanaryReading(
    passages={f"p{i}": PassageLoss(200.0 + i, 100) for i in range(10)},
    questions=QUESTIONS,
    refusals={"r1": False, "r2": True},
    reply_words=80.0,
)


def with_perplexity_times(factor: float) -> CanaryReading:
    passages = BASE.passages.items()
    uneven = {
        k: PassageLoss(v.nats + v.tokens * log(factor) + 20 * (-1) ** i, 100) for i, (k, v) in enumerate(passages)
    }
    return replace(BASE, passages=uneven)


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.09, True), (1.11, False)])
def test_perplexity_may_rise_by_a_tenth(factor: float, passed: bool) -> None:
    perplexity = compare_canaries(BASE, with_perplexity_times(factor))["perplexity"]
    assert perplexity["ratio"] == pytest.approx(factor)
    assert perplexity["interval"][0] < factor - 0.05 < factor + 0.05 < perplexity["interval"][1]
    assert perplexity["passed"] is passed


@pytest.mark.parametrize(("lost", "passed"), [(0, True), (5, True), (6, False)])
def test_answers_may_fall_by_a_twentieth(lost: int, passed: bool) -> None:
    trained = replace(BASE, questions={k: v and int(k[1:]) >= lost for k, v in QUESTIONS.items()})
    questions = compare_canaries(BASE, trained)["questions"]
    assert questions["difference"] == pytest.approx(-lost / 100)
    assert questions["interval"][0] <= -lost / 100 <= questions["interval"][1]
    assert questions["passed"] is passed


def test_what_nobody_measured_is_left_out() -> None:
    assert compare_canaries(None, BASE) == {}
    bare = replace(BASE, passages={}, questions={}, refusals={})
    assert compare_canaries(bare, bare) == {"reply_words": {"base": 80.0, "trained": 80.0}}
