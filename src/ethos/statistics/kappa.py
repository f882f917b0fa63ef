"""Cohen's kappa: agreement of two raters beyond chance, with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ethos.statistics.proportions import wilson_interval


@dataclass(frozen=True, slots=True)
class Kappa:
    """Kappa with its 95% interval, and the plain share of items on which the raters agree."""

    estimate: float
    low: float
    high: float
    agreement: float
    n: int


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> Kappa | None:
    """Kappa of two raters of the same items; None, as undefined, where both gave one and the same label.

    Sources: Cohen 1960, doi:10.1177/001316446002000104. The interval is Wilson's of the observed agreement,
    with the agreement by chance held at its estimate; unlike the usual large-sample one it has width at
    perfect agreement. Raises ValueError if there are no items or the raters labelled different numbers of
    them.
    """
    n = len(a)
    if not n or len(b) != n:
        raise ValueError(f"kappa needs two labels an item: {n} and {len(b)} were given")
    agreed = sum(x == y for x, y in zip(a, b, strict=True))
    counts_a, counts_b = Counter(a), Counter(b)
    chance = sum(counts_a[label] * counts_b[label] for label in counts_a) / n**2
    if chance == 1:
        return None

    def beyond_chance(agreement: float) -> float:
        return (agreement - chance) / (1 - chance)

    low, high = wilson_interval(agreed, n)
    return Kappa(beyond_chance(agreed / n), max(-1.0, beyond_chance(low)), beyond_chance(high), agreed / n, n)
