"""The mean score of one arm over clauses, with an interval that knows about topics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ethos.statistics.estimate import Estimate, Topics, group_by_topic
from ethos.statistics.proportions import wilson_interval


def stratified_mean(scores: Mapping[str, Mapping[str, float]], clusters: Mapping[str, str]) -> Estimate:
    """The mean over clauses of each clause's mean score, with a 95% interval.

    Args:
        scores: clause id -> prompt id -> score in [0, 1]; empty clauses are left out.
        clusters: prompt id -> topic.

    The interval is Wilson's for as many independent prompts as would give this variance between topics
    within clauses (the effective sample size; Dean and Pagano 2015, doi:10.1093/jssam/smv024), and never for
    more than there are topics, so that it has width even where all scores agree. Raises ValueError if all
    clauses are empty.
    """
    clauses = [group_by_topic(values, clusters) for values in scores.values() if values]
    if not clauses:
        raise ValueError("no scores to average")
    estimate = float(np.mean([topics.mean for topics in clauses]))
    count = sum(len(topics.totals) for topics in clauses)
    variance = sum(_variance_of_mean(topics) for topics in clauses) / len(clauses) ** 2
    spread = estimate * (1 - estimate)
    effective = min(count, max(1, round(spread / variance))) if variance > 0 and spread > 0 else count
    low, high = wilson_interval(min(estimate, 1.0) * effective, effective)
    return Estimate(estimate, low, high, sum(len(values) for values in scores.values()), count)


def _variance_of_mean(topics: Topics) -> float:
    count = len(topics.totals)
    if count == 1:
        return 0.0
    residuals = topics.totals - topics.mean * topics.sizes
    return float(count / (count - 1) * (residuals**2).sum() / topics.sizes.sum() ** 2)
