"""The mixture: which row fills which slot of which step. It keeps no state but a count of rows taken.

(seed, step) and that step's weights share the slots out among the objectives. Within an objective the next row is
position k of a permutation seeded by (seed, objective, version of the row set, epoch); k is in the checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise


def share_slots(weights: Mapping[str, float], slots: int, seed: int, step: int) -> dict[str, int]:
    """Shares a step's slots out in proportion to the weights, at least one for each weight above 0.

    What doesn't divide evenly goes by a draw that (seed, step) decides, so that over many steps the shares are exact.
    With more objectives than slots, each still gets its one: a step is then larger than `slots`.
    """
    active = {name: weight for name, weight in weights.items() if weight > 0}
    if not active:
        return {}
    rest = max(0, slots - len(active))
    total = sum(active.values())
    wanted = [max(0.0, weight / total * slots - 1) for weight in active.values()]
    edges = list(accumulate(wanted))
    # systematic sampling: lay the shares end to end on a line, and count the marks at whole steps from one random start
    start = random.Random(f"{seed}/{step}/slots").random()
    marks = [0] + [int(start + rest * (edge / edges[-1])) if edges[-1] > 0 else 0 for edge in edges]
    return {name: 1 + after - before for name, (before, after) in zip(active, pairwise(marks), strict=True)}


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows of one objective, as an immutable file holds them."""

    objective: str
    version: str  # hash of the row file
    size: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many rows of an objective's row set have been taken since that version came into force."""

    version: str
    taken: int = 0


def take_rows(rows: RowSet, cursor: Cursor | None, count: int, seed: int) -> tuple[list[int], Cursor]:
    """Indices of the next `count` rows, and the cursor after them; a new version of the rows starts at 0."""
    taken = cursor.taken if cursor is not None and cursor.version == rows.version else 0
    indices = []
    for k in range(taken, taken + count):
        epoch, place = divmod(k, rows.size)
        indices.append(_permutation(seed, rows.objective, rows.version, epoch, rows.size)[place])
    return indices, Cursor(rows.version, taken + count)


@lru_cache(maxsize=16)
def _permutation(seed: int, objective: str, version: str, epoch: int, size: int) -> tuple[int, ...]:
    order = list(range(size))
    random.Random(f"{seed}/{objective}/{version}/{epoch}").shuffle(order)
    return tuple(order)
