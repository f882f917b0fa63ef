"""The divergence guard: a step that would do harm is not taken.

That is one whose loss or gradient is not finite, and one whose gradient is far out of line with those before it.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable

from ethos.errors import EthosError

START_ANEW = "a step that is repeated is the same, so start a run of another name, with a lower knobs.lr or other rows"
WINDOW = 20
FEWEST = 5  # norms that say what is usual


class Diverged(EthosError):
    """Training stopped before a step that would have done harm; no gradient of it is kept."""


class SpikeGuard:
    """Remembers the gradient norms of the last steps."""

    def __init__(self, norms: Iterable[float] = ()) -> None:
        self._norms = deque((norm for norm in norms if norm > 0), maxlen=WINDOW)

    def add(self, norm: float) -> None:
        """Of a step that was taken; one that trained on nothing says nothing."""
        if norm > 0:
            self._norms.append(norm)

    def check(self, step: int, norm: float, factor: float) -> None:
        """Raises Diverged if the norm is above `factor` times the median of the last ones; 0 checks nothing."""
        if factor == 0 or len(self._norms) < FEWEST:
            return
        usual = statistics.median(self._norms)
        if norm > factor * usual:
            raise Diverged(
                f"step {step}: the gradient's norm is {norm:.3g}, over {factor:g} times the median of the last "
                f"{len(self._norms)} ({usual:.3g}), and the step was not taken; look at its rows, then take it with "
                "`ethos adjust RUN spike_factor=0` and run again, or start a run of another name with a lower lr"
            )
