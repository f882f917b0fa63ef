"""From the rewards of a group of replies to how much better each was than the others.

Several rewards are each normalised within the group before their weights apply (Liu et al. 2026, GDPO): a weight then
means what it says, whatever a reward's spread, and can be changed while the run trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Estimator = Literal["grpo", "rloo"]


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """Of each reply its advantage, None where a reward that counts is missing; `spread`: whether they differ at all."""

    values: tuple[float | None, ...]
    spread: bool


def group_advantages(
    rewards: Sequence[Mapping[str, float | None]],
    weights: Mapping[str, float],
    estimator: Estimator,
    deviation_floor: float,
) -> GroupAdvantages:
    """Advantages of a group's replies, given what each reward said of each.

    `grpo`: (r - mean) / max(deviation, floor), with the sample deviation (Shao et al. 2024, section 4.1.2). The floor
    keeps a reward that hardly tells replies apart from being blown up. `rloo`: r minus the mean of the others (Ahmadian
    et al. 2024, eq. 8), not scaled. A reply for which a reward of non-zero weight is None or not finite is left out of
    its group, and so are all replies if fewer than two are left.
    """
    counted = [name for name, weight in weights.items() if weight != 0]
    scored = [place for place, found in enumerate(rewards) if all(_is_score(found.get(name)) for name in counted)]
    values: list[float | None] = [None] * len(rewards)
    if len(scored) < 2 or not counted:
        return GroupAdvantages(tuple(values), spread=False)
    totals = dict.fromkeys(scored, 0.0)
    spread = False
    for name in counted:
        given = [float(rewards[place][name] or 0.0) for place in scored]
        centred, deviation = _centred(given)
        spread = spread or deviation > 0
        scale = _scale(estimator, len(given), deviation, deviation_floor)
        for place, value in zip(scored, centred, strict=True):
            totals[place] += weights[name] * value * scale
    for place, total in totals.items():
        values[place] = total
    return GroupAdvantages(tuple(values), spread)


def _is_score(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _centred(values: Sequence[float]) -> tuple[list[float], float]:
    """Values less their mean, and their sample deviation: 0 to the bit if all are the same."""
    if all(value == values[0] for value in values):
        return [0.0] * len(values), 0.0
    mean = math.fsum(values) / len(values)
    centred = [value - mean for value in values]
    return centred, math.sqrt(math.fsum(value * value for value in centred) / (len(values) - 1))


def _scale(estimator: Estimator, size: int, deviation: float, floor: float) -> float:
    if estimator == "rloo":  # r - mean of the others = (r - mean of all) x size / (size - 1)
        return size / (size - 1)
    return 1 / max(deviation, floor) if deviation else 0.0
