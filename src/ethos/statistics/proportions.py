"""Intervals of a proportion of independent yes/no outcomes."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054  # the normal distribution's 97.5% point


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """The 95% score interval of `successes` out of `n`; it has width even at 0 and at n.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. Raises ValueError if n is 0 or successes lie
    outside it.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} out of {n} is no proportion")
    rate = successes / n
    centre = rate + Z_95**2 / (2 * n)
    spread = Z_95 * sqrt(rate * (1 - rate) / n + Z_95**2 / (4 * n**2))
    scale = 1 + Z_95**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
