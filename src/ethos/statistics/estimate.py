"""A figure with its interval, and scores grouped by family: what paired differences and means share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval, the prompts it rests on, and the families they came from."""

    estimate: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True, slots=True)
class Families:
    """The values of one clause by family: their sums and their numbers, both of shape [families]."""

    totals: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over prompts."""
        return float(self.totals.sum() / self.sizes.sum())


def group_by_family(values: Mapping[str, float], clusters: Mapping[str, str]) -> Families:
    """Groups prompt id -> value by `clusters`, prompt id -> family."""
    grouped: dict[str, list[float]] = {}
    for prompt, value in values.items():
        grouped.setdefault(clusters[prompt], []).append(value)
    return Families(
        np.array([sum(family) for family in grouped.values()], dtype=float),
        np.array([len(family) for family in grouped.values()], dtype=float),
    )
