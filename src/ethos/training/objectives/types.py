"""What an objective is: a way to turn rows into batches, and one loss, a pure sum with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from ethos.models.templates import ChatTemplate
from ethos.store.rows import Row
from ethos.training.batch import Batch, TokenRow

Unit = Literal["token", "sequence", "pair"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the policy's forward gives a loss."""

    logprobs_M: Tensor  # fp32, differentiable


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over the batch, not yet divided by the objective's unit count."""

    total: Tensor  # scalar


class Objective(Protocol):
    """One loss."""

    name: str
    unit: Unit

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> list[TokenRow]:
        """Rows as tokens with their targets; a row that can't be used is left out, and the caller counts it."""
        ...

    def units(self, batch: Batch) -> int:
        """How many units the batch holds; the step divides the sum by the total over all micro-batches and ranks."""
        ...

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """The sum over the batch."""
        ...
