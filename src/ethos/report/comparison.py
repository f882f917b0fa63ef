"""Base, prompted and trained side by side over the same prompts, with the differences and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ethos.report.inputs import Arm, Reading
from ethos.statistics.estimate import Estimate
from ethos.statistics.means import stratified_mean
from ethos.statistics.paired import stratified_difference

MAIN_ARMS: tuple[Arm, ...] = ("base", "prompted", "trained")

Scores = Mapping[str, Mapping[str, float]]
"""Clause id -> scenario id -> score in [0, 1]."""


def compare(
    readings: Iterable[Reading], score: Callable[[Reading], float | None] = lambda reading: reading.adherence
) -> dict[str, Any]:
    """The main arms over the prompts that every arm present has a score for.

    An arm without any reading is absent and its figures are null. A prompt that is unscored in one arm is
    left out of all of them, so that the figures add up; such prompts are counted in `unscored`.
    """
    chosen = [reading for reading in readings if reading.arm in MAIN_ARMS]
    scores, clusters, unscored = shared_scores(chosen, MAIN_ARMS, score)
    means = {arm: mean(scores.get(arm), clusters) for arm in MAIN_ARMS}
    over_base = difference(scores.get("trained"), scores.get("base"), clusters)
    over_prompted = difference(scores.get("trained"), scores.get("prompted"), clusters)
    compared = next(iter(scores.values()), {})
    return {
        **{arm: None if found is None else found.estimate for arm, found in means.items()},
        "intervals": {arm: None if found is None else interval(found) for arm, found in means.items()},
        **as_difference(over_base),
        "over_prompted": as_difference(over_prompted),
        "n": sum(len(prompts) for prompts in compared.values()),
        "clauses_compared": len(compared),
        "unscored": unscored,
    }


def shared_scores(
    readings: Iterable[Reading], arms: Iterable[Arm], score: Callable[[Reading], float | None]
) -> tuple[dict[Arm, dict[str, dict[str, float]]], dict[str, str], int]:
    """Scores by arm over the prompts scored in each arm present; scenario id -> topic; prompts left out."""
    wanted = set(arms)
    by_prompt: dict[tuple[str, str], dict[Arm, float | None]] = {}
    clusters: dict[str, str] = {}
    for reading in readings:
        if reading.arm in wanted:
            by_prompt.setdefault((reading.clause_id, reading.scenario_id), {})[reading.arm] = score(reading)
            clusters[reading.scenario_id] = reading.topic
    present = {arm for found in by_prompt.values() for arm in found}
    scores: dict[Arm, dict[str, dict[str, float]]] = {arm: {} for arm in present}
    unscored = 0
    for (clause, scenario), found in by_prompt.items():
        values = {arm: value for arm, value in found.items() if value is not None}
        if values.keys() != present:
            unscored += 1
            continue
        for arm, value in values.items():
            scores[arm].setdefault(clause, {})[scenario] = value
    return scores, clusters, unscored


def mean(scores: Scores | None, clusters: Mapping[str, str]) -> Estimate | None:
    """The mean over clauses, or None where there is nothing to average."""
    return stratified_mean(scores, clusters) if scores else None


def difference(a: Scores | None, b: Scores | None, clusters: Mapping[str, str]) -> Estimate | None:
    """The mean of a - b over clauses, or None where one arm is missing."""
    return stratified_difference(a, b, clusters) if a and b else None


def as_difference(found: Estimate | None) -> dict[str, Any]:
    """An estimate in the report's form: `difference` and `interval`, null where there is none."""
    if found is None:
        return {"difference": None, "interval": None}
    return {"difference": found.estimate, "interval": interval(found)}


def interval(found: Estimate) -> list[float]:
    """Low and high."""
    return [found.low, found.high]
