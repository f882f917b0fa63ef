"""One objective's part of a step, in one process or in several: forward and backward over its micro-batches.

What the ranks of a step have to agree on goes through `Ranks`; a process by itself is the only rank of `Alone`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ethos.training.batch import Batch
from ethos.training.guard import START_ANEW, Diverged
from ethos.training.objectives.types import Loss, Mean, Objective
from ethos.training.optimizer import MasterOptimizer


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one objective did in one step."""

    loss: float  # mean over its units, weight not applied
    units: int
    tokens: int  # prompts included
    targets: int  # tokens that carry loss
    gradient_norm: float  # of its own gradient, weight applied
    metrics: Mapping[str, float] = field(default_factory=dict)  # what else the objective watches


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank computes of a step's micro-batches.

    All ranks go forward and backward as often as the busiest; one that has fewer computes `spare` for no gradient.
    """

    batches: tuple[Batch, ...]
    spare: Batch | None  # None if no rank has any


def share(batches: Sequence[Batch], rank: int, ranks: int) -> Share:
    """Every rank's micro-batches in turn."""
    return Share(tuple(batches[rank::ranks]), batches[0] if batches else None)


class Ranks(Protocol):
    """The processes that take a step together."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    def sum(self, value: float) -> float:
        """Of the values of all ranks."""
        ...

    def most(self, value: float) -> float:
        """The largest of the values of all ranks."""
        ...


class Alone:
    """One process that takes its steps by itself."""

    size = 1

    def sum(self, value: float) -> float:
        """As `Ranks`."""
        return value

    def most(self, value: float) -> float:
        """As `Ranks`."""
        return value


def accumulate(
    given: Share,
    objective: Objective,
    weight: float,
    loss_of: Callable[[Batch], Loss],
    optimizer: MasterOptimizer,
    ranks: Ranks,
) -> StepMetrics:
    """Adds weight × the gradient of the objective's mean over its units, over all micro-batches of all ranks.

    A weight of 0 does nothing at all. Raises Diverged, on every rank, if the loss is not finite; no gradient is kept
    then. The backward pass may leave the mean over ranks, as FSDP does.
    """
    units = ranks.sum(sum(objective.units(batch) for batch in given.batches))
    if weight == 0 or units == 0:
        return StepMetrics(0.0, 0, 0, 0, 0.0)
    total, watched = 0.0, dict[str, Mean]()
    broken: list[str] = []  # rows of micro-batches whose loss is not finite
    for turn in range(int(ranks.most(len(given.batches)))):
        counts = turn < len(given.batches)
        batch = given.batches[turn] if counts else given.spare
        assert batch is not None, "some rank has a micro-batch, so all have a spare one"
        loss = loss_of(batch)
        value = float(loss.total.detach())
        if not math.isfinite(value):
            broken.extend(batch.row_ids)
        (loss.total * (weight / units * ranks.size * counts)).backward()
        total += value * counts
        for name, mean in loss.metrics.items():
            watched[name] = watched.get(name, Mean(0, 0)) + (mean if counts else Mean(0, 0))
    total = ranks.sum(total)
    if not math.isfinite(total):
        optimizer.clear()
        where = f" on rows {', '.join(broken)}" if broken else ""
        raise Diverged(f"the loss of {objective.name} is {total}{where}; {START_ANEW}")
    tokens = ranks.sum(sum(batch.tokens for batch in given.batches))
    targets = ranks.sum(sum(int(batch.targets_M.shape[0]) for batch in given.batches))
    means = {name: Mean(ranks.sum(mean.total), ranks.sum(mean.count)).value for name, mean in sorted(watched.items())}
    return StepMetrics(total / units, int(units), int(tokens), int(targets), optimizer.gather(), means)
