"""The divergence guard: a step that would do harm is not taken.

That is one whose loss or gradient is not finite, and one whose gradient is far out of line with those before it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ethos.errors import EthosError

START_ANEW = "a step that is repeated is the same, so start a run of another name, with a lower knobs.lr or other rows"
WINDOW = 20
FEWEST = 5  # norms that say what is usual


class Diverged(EthosError):
    """Training stopped before a step that would have done harm; no gradient of it is kept."""


@dataclass(frozen=True, slots=True)
class Recent:
    """Gradient norms of the last steps that were taken on one mixture, oldest first; kept in checkpoints."""

    mixture: str = ""
    norms: tuple[float, ...] = ()

    def then(self, mixture: str, norm: float) -> Recent:
        """After one more step. Another mixture starts anew, since its gradients are of another loss; a step that
        trained on nothing says nothing.
        """
        if norm <= 0:
            return self
        before: Sequence[float] = self.norms if mixture == self.mixture else ()
        return Recent(mixture, (*before, norm)[-WINDOW:])

    def require_usual(self, step: int, mixture: str, norm: float, factor: float, clip: float) -> None:
        """Raises Diverged if the norm is above `factor` times the median of the last ones, and would be clipped.

        A factor of 0 checks nothing. A norm that is not finite is no spike: `optim_step` raises for it.
        """
        if (
            factor == 0
            or not math.isfinite(norm)
            or mixture != self.mixture
            or len(self.norms) < FEWEST
            or norm <= clip
        ):
            return
        usual = statistics.median(self.norms)
        if norm > factor * usual:
            raise Diverged(
                f"step {step}: the gradient's norm is {norm:.3g}, over {factor:g} times the median of the last "
                f"{len(self.norms)} ({usual:.3g}), and the step was not taken; look at its rows, then take it with "
                '`ethos adjust RUN spike_factor=0 --why "…"` and run again, or start a run of another name with a '
                "lower lr"
            )

    @classmethod
    def of(cls, state: Any) -> Recent:
        """What a checkpoint kept."""
        return cls(state["mixture"], tuple(state["norms"]))
