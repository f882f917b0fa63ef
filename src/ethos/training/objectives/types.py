"""What an objective is: a way to turn rows into tokens, and one loss, a pure sum with its unit.

An objective is a value: its fields are its hyperparameters, as they are in force in one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from ethos.models.templates import ChatTemplate
from ethos.store.rows import Row
from ethos.training.batch import Batch
from ethos.training.objectives.tokenised import Tokenised
from ethos.training.outputs import Outputs

Unit = Literal["token", "sequence", "pair"]
Need = Literal["replies", "rewards", "reference", "teacher", "scalar_head"]
"""What a step has to get before it can train on the rows: the policy's own replies to them, what rewards say of those,
log-probabilities under the reference, a teacher's hidden states; or what the policy has to have."""
NO_NEEDS: frozenset[Need] = frozenset()


@dataclass(frozen=True, slots=True)
class Mean:
    """A figure to watch, as a sum and what it is divided by, so that micro-batches and ranks add up."""

    total: float
    count: float

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; 0 over nothing."""
        return self.total / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over the batch, not yet divided by the objective's unit count; and figures to watch."""

    total: Tensor  # scalar
    metrics: Mapping[str, Mean] = field(default_factory=dict)


class Objective(Protocol):
    """One loss."""

    @property
    def name(self) -> str:
        """As in the mixture."""
        ...

    @property
    def unit(self) -> Unit:
        """What the loss is a mean over."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """Beside its rows."""
        ...

    @property
    def signals(self) -> tuple[str, ...]:
        """What the loss reads of each completion that its rows didn't bring along."""
        ...

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Those of its kinds among the rows as tokens; one that can't be used is left out and counted."""
        ...

    def units(self, batch: Batch) -> int:
        """How many units the batch holds; the step divides the sum by the total over all micro-batches and ranks."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """The sum over the batch."""
        ...
