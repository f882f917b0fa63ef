"""A figure with its interval, and scores grouped by topic: what paired differences and means share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval, the prompts it rests on, and the topics they came from."""

    estimate: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True, slots=True)
class Topics:
    """The values of one clause by topic: their sums and their numbers, both of shape [topics]."""

    totals: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over prompts."""
        return float(self.totals.sum() / self.sizes.sum())


def group_by_topic(values: Mapping[str, float], clusters: Mapping[str, str]) -> Topics:
    """Groups prompt id -> value by `clusters`, prompt id -> topic."""
    grouped: dict[str, list[float]] = {}
    for prompt, value in values.items():
        grouped.setdefault(clusters[prompt], []).append(value)
    return Topics(
        np.array([sum(topic) for topic in grouped.values()], dtype=float),
        np.array([len(topic) for topic in grouped.values()], dtype=float),
    )
