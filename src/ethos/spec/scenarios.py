"""Scenarios, and the split into pools that is fixed before any prompt is written.

A family is topic × context. Topics are dealt to the pools `train`, `taste`, `gate` and `sealed` clause by clause, so no
pool has another's topics of the same clause; reserved contexts are met in the sealed pool only.
Left out on purpose: writing the prompts, which needs a teacher (`synthesis/scenarios.py`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation
from ethos.spec.language import sentences

Pool = Literal["train", "taste", "gate", "sealed"]
POOLS: tuple[Pool, ...] = ("train", "taste", "gate", "sealed")
SMALLEST_POOL = 20


@dataclass(frozen=True, slots=True)
class Context:
    """A setting in which a message reaches the character: chat, email, a forum post."""

    name: str
    instruction: str  # tells the teacher how such a message is written
    reserved: bool = False  # met in the sealed pool only
    fewest_lines: int = 1
    most_lines: int | None = None
    fewest_sentences: int = 1
    most_sentences: int | None = None
    lower_case: bool = False  # a message is put in lower case, however it was written

    @property
    def demands(self) -> int:
        """How much of the form can be counted."""
        counted = (self.fewest_lines > 1, self.most_lines, self.fewest_sentences > 1, self.most_sentences)
        return sum(map(bool, counted)) + 2 * self.lower_case

    def form(self, text: str) -> str:
        """The message in the letters of this context."""
        return text.lower() if self.lower_case else text

    def fits(self, text: str) -> bool:
        """Whether a message has the form that is asked for, as far as that can be counted."""
        lines, said = sum(bool(line.strip()) for line in text.splitlines()), len(sentences(text))
        return (
            self.fewest_lines <= lines <= (self.most_lines or lines)
            and self.fewest_sentences <= said <= (self.most_sentences or said)
            and (not self.lower_case or text == text.lower())
        )


@dataclass(frozen=True, slots=True)
class Family:
    """topic × context, for one clause. `contrast` families are those where the clause does not apply."""

    clause_id: str
    topic: str
    context: str
    pool: Pool
    contrast: bool = False
    group: str = ""  # the topic that stands for those close to it; "" for one by itself

    @property
    def id(self) -> str:
        """Stable, and the same in every run with the same spec and scenario seed."""
        text = "\x1f".join((self.clause_id, self.topic, self.context, "contrast" if self.contrast else ""))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def topic_id(self) -> str:
        """What families of close topics share: their prompts aren't independent of each other."""
        return hashlib.sha256(f"{self.clause_id}\x1f{self.group or self.topic}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A prompt that calls on a clause, or, as contrast, a plain question that does not."""

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


@dataclass(frozen=True, slots=True)
class Topic:
    """What a message is about, and the first topic of its pool that is close to it: itself, where none is."""

    text: str
    group: str


def deal_topics(
    topics: Sequence[str],
    needed: Mapping[Pool, int],
    seed: int,
    clause_id: str,
    are_near: Callable[[str, str], bool] = lambda one, other: False,
) -> dict[Pool, tuple[Topic, ...]]:
    """Deals distinct topics to pools, `needed[pool]` each, by a shuffle that only `seed` and the clause decide.

    No pool gets a topic that is near one of another pool's. What then fits nowhere is left out, so that a pool may get
    fewer than it needs.

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
    dealt: dict[Pool, list[Topic]] = {pool: [] for pool in POOLS}
    for text in distinct:
        near = {pool: next((t for t in dealt[pool] if are_near(t.text, text)), None) for pool in POOLS}
        nearby = [pool for pool in POOLS if near[pool] is not None]
        left = {pool: 1 - len(dealt[pool]) / needed[pool] if needed.get(pool) else 0.0 for pool in nearby or POOLS}
        neediest = max(left, key=lambda pool: left[pool])
        if left[neediest] > 0 and len(nearby) <= 1:
            like = near[neediest]
            dealt[neediest].append(Topic(text, text if like is None else like.group))
    return {pool: tuple(found) for pool, found in dealt.items()}


def families_of_pool(
    clause_id: str,
    pool: Pool,
    topics: Sequence[Topic],
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
        Family(clause_id, topic.text, usable[(row + shift) % len(usable)].name, pool, contrast, topic.group)
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
