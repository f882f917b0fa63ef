"""What a recipe works with: its job, and the cast that does it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import regex

from ethos.judging.adherence import Assessor
from ethos.judging.comparer import Comparer
from ethos.judging.few_shot import FewShot, load_few_shot
from ethos.judging.pairwise import Preference
from ethos.judging.wording import Wording, load_wording
from ethos.models.endpoints.concurrency import PLACE
from ethos.models.types import Sampler
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec
from ethos.store.config.data import SynthesisConfig
from ethos.store.rows import Row
from ethos.synthesis.expected import Calls, PlannedCast, Role

T = TypeVar("T")
R = TypeVar("R")

PROMPTS = Path(__file__).with_name("prompts")
REFUSED = "refused by the endpoint"
ANOTHER_LANGUAGE = "in another language"
"""Why something was not kept, for `Job.rejected`."""

_AT_ONCE = 256  # some of them wait for verdicts, and the others should still fill an engine
_AHEAD = 4096  # results that may wait for one before them


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted. `rejected` counts, by reason, what was made and not kept."""

    spec: Spec
    clauses: tuple[Clause, ...]  # those that are worked on
    scenarios: tuple[Scenario, ...]  # of the train pool, contrast included; of clauses that can be assessed
    config: SynthesisConfig
    seed: int
    count_tokens: Callable[[str], int]
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who does it."""

    writer: Sampler  # of rows: the teacher, or a chorus
    student: Sampler
    assessor: Assessor
    comparer: Comparer | None = None

    async def compare(self, clause: Clause, prompt: Conversation, a: str, b: str) -> Preference | None:
        """Which of two replies follows a clause better; None without a judge that may say so."""
        return None if self.comparer is None else await self.comparer.compare(clause, prompt, a, b)


class Recipe(Protocol):
    """From clauses to rows. One file a recipe, and one line in `recipes.py`."""

    name: str

    @property
    def given(self) -> tuple[str, str] | None:
        """What its rows depend on beside its job and cast: what a person calls it, and its digest."""
        return None

    async def make_ready(self, settings: SynthesisConfig) -> None:
        """Looks for what it can't do without, before a teacher is paid. Raises EthosError that names the mend."""
        return

    def written_objectives(self, settings: SynthesisConfig) -> tuple[str, ...]:
        """The objectives that it makes rows for, under these settings."""
        return ()

    def size(self, job: Job) -> int:
        """How many units of work a model does for it, for the progress bar; 0: nothing is asked of it."""
        ...

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """Who will be asked what, for a plan; scenarios of its job hold a message of the usual length."""
        ...

    def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Yields rows as they are finished; calls `advance` after each unit of work."""
        ...


def wording(name: str) -> Wording:
    """A prompt file of this room."""
    return load_wording(name, folder=PROMPTS)


def few_shot(name: str) -> FewShot:
    """A prompt file of this room whose examples are turns."""
    return load_few_shot(name, folder=PROMPTS)


def lines_of(name: str) -> tuple[str, ...]:
    """A data file of this room: its lines that are not empty."""
    return tuple(line for line in (PROMPTS / name).read_text(encoding="utf-8").splitlines() if line.strip())


@cache
def patterns_of(name: str) -> regex.Pattern[str]:
    """The regular expressions of the files `<name>.<language>.txt` of this room, of all languages: any of them."""
    lines = [line for path in sorted(PROMPTS.glob(f"{name}.*.txt")) for line in lines_of(path.name)]
    return regex.compile("|".join(f"(?:{line})" for line in lines), regex.IGNORECASE)


async def in_order(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> AsyncIterator[R]:
    """Does all items, many at once, and yields results in the order of the items.

    Depth first: where requests have to wait, those of the items that were begun first go first, so that the first
    results come early. Items are taken as they are needed, and few results are held, however many items there are.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(place: int, item: T) -> R:
        PLACE.set(place)
        async with gate:
            return await work(item)

    coming = enumerate(items)
    tasks = deque(asyncio.ensure_future(one(*each)) for each in islice(coming, _AHEAD))
    try:
        while tasks:
            result = await tasks[0]
            tasks.popleft()
            tasks.extend(asyncio.ensure_future(one(*each)) for each in islice(coming, 1))
            yield result
    finally:
        for task in tasks:
            task.cancel()
