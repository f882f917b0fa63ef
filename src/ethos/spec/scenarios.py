"""Scenarios, and the split into pools that is fixed before any prompt is written.

A family is topic × context. Topics are dealt to the pools `train`, `taste`, `gate` and `sealed` clause by clause, so no
pool has another's topics of the same clause; reserved contexts are met in the sealed pool only.
Left out on purpose: writing the prompts, which needs a teacher (`synthesis/scenarios.py`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation

Pool = Literal["train", "taste", "gate", "sealed"]
POOLS: tuple[Pool, ...] = ("train", "taste", "gate", "sealed")
SMALLEST_POOL = 20


@dataclass(frozen=True, slots=True)
class Context:
    """A setting in which a message reaches the character: chat, email, a forum post."""

    name: str
    instruction: str  # tells the teacher how such a message is written
    reserved: bool = False  # met in the sealed pool only


@dataclass(frozen=True, slots=True)
class Family:
    """topic × context, for one clause. `contrast` families are those where the clause does not apply."""

    clause_id: str
    topic: str
    context: str
    pool: Pool
    contrast: bool = False

    @property
    def id(self) -> str:
        """Stable, and the same in every run with the same spec and scenario seed."""
        text = "\x1f".join((self.clause_id, self.topic, self.context, "contrast" if self.contrast else ""))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def topic_id(self) -> str:
        """What families of one topic share: prompts on one topic aren't independent of each other."""
        return hashlib.sha256(f"{self.clause_id}\x1f{self.topic}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A prompt that calls on a clause (or, as contrast, looks as if it might and does not)."""

    family: Family
    prompt: Conversation  # ends on the user's turn; carries no system message

    @property
    def id(self) -> str:
        """Family and prompt together."""
        return f"{self.family.id}-{self.prompt.digest()[:8]}"

    @property
    def clause_id(self) -> str:
        """The clause it calls on."""
        return self.family.clause_id


def deal_topics(
    topics: Sequence[str], needed: Mapping[Pool, int], seed: int, clause_id: str
) -> dict[Pool, tuple[str, ...]]:
    """Deals distinct topics to pools, `needed[pool]` each, by a shuffle that only `seed` and the clause decide.

    Raises:
        EthosError: if there are fewer topics than are needed.
    """
    distinct = list(dict.fromkeys(topics))
    total = sum(needed.values())
    if len(distinct) < total:
        raise EthosError(
            f"clause {clause_id}: {len(distinct)} distinct topics, but the pools need {total}; "
            "lower scenarios.*_per_clause, or name another teacher"
        )
    random.Random(f"{seed}/{clause_id}").shuffle(distinct)
    dealt: dict[Pool, tuple[str, ...]] = {}
    start = 0
    for pool in POOLS:
        count = needed.get(pool, 0)
        dealt[pool] = tuple(distinct[start : start + count])
        start += count
    return dealt


def families_of_pool(
    clause_id: str,
    pool: Pool,
    topics: Sequence[str],
    contexts: Sequence[Context],
    count: int,
    *,
    contrast: bool = False,
) -> list[Family]:
    """The first `count` families of a pool: contexts taken in turn over the topics, so that both are spread evenly.

    Reserved contexts are used in the sealed pool only. Raises EthosError if topics × contexts gives fewer than `count`.
    """
    usable = [c for c in contexts if pool == "sealed" or not c.reserved]
    grid = [
        Family(clause_id, topic, usable[(row + shift) % len(usable)].name, pool, contrast)
        for shift in range(len(usable))
        for row, topic in enumerate(topics)
    ]
    if len(grid) < count:
        raise EthosError(
            f"clause {clause_id}, pool {pool}: {len(topics)} topics × {len(usable)} contexts give {len(grid)} "
            f"families, but {count} are wanted; add contexts, or lower the pool's size"
        )
    return grid[:count]


def require_pool_sizes(scenarios: Sequence[Scenario], pools: Sequence[Pool]) -> None:
    """Raises EthosError for a pool with fewer than 20 prompts: nothing can be concluded from it."""
    for pool in pools:
        count = sum(s.family.pool == pool and not s.family.contrast for s in scenarios)
        if count < SMALLEST_POOL:
            fields = (
                ["sealed_per_checked_clause", "sealed_per_judged_clause"]
                if pool == "sealed"
                else [f"{pool}_per_clause"]
            )
            raise EthosError(
                f"the {pool} pool has {count} prompts and needs at least {SMALLEST_POOL}; "
                f"raise scenarios.{' or scenarios.'.join(fields)}, and give the run another name"
            )
