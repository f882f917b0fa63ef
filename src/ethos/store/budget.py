"""The limits of a run: room for a call is reserved, by the most it can take, before it is made, and settled by what it
took. While what other calls have reserved may yet be given back, a call that needs it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.store.config.run import BudgetConfig


class BudgetSpent(EthosError):
    """A call would go past the budget; what was paid for is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Room held for one call, to be settled exactly once."""

    tokens: int
    usd: float


class Budget:
    """Counts what is spent and what is reserved. Belongs to one event loop."""

    def __init__(
        self,
        limits: BudgetConfig,
        *,
        tokens: int = 0,
        usd: float = 0.0,
        minutes: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`, `usd` and `minutes` are what earlier sittings spent; `clock` counts seconds."""
        self._limits = limits
        self._tokens = tokens
        self._usd = usd
        self._clock = clock
        self._start_s = clock() - 60 * minutes
        self._open: set[Reservation] = set()
        self._turn = asyncio.Lock()  # calls are admitted in the order in which they came, so that none waits for ever
        self._settled = asyncio.Event()

    async def reserve(self, tokens: int, usd: float = 0.0) -> Reservation:
        """Holds room for one call, by the most it can take, as soon as there is room.

        Raises BudgetSpent if the call would go past a limit even if all that is reserved came back, or if time is up.
        """
        reservation = Reservation(tokens, usd)
        self._require_unspent(reservation)
        async with self._turn:
            self._require_unspent(reservation)
            while not self._fits(reservation):
                self._settled.clear()
                await self._settled.wait()
                self._require_unspent(reservation)
            self._open.add(reservation)
            return reservation

    def settle(self, reservation: Reservation, tokens: int, usd: float = 0.0) -> None:
        """Replaces a reservation by what the call took: zero if it failed, or if the cache had the answer."""
        self._open.remove(reservation)
        self._tokens += tokens
        self._usd += usd
        self._settled.set()

    def _require_unspent(self, wanted: Reservation) -> None:
        _require("tokens", self._limits.tokens, self._tokens, wanted.tokens)
        _require("usd", self._limits.usd, self._usd, wanted.usd)
        _require("minutes", self._limits.minutes, (self._clock() - self._start_s) / 60, 0)

    def _fits(self, wanted: Reservation) -> bool:
        """Whether there is room beside all that is reserved; beside nothing there is, of what isn't spent."""
        tokens = self._tokens + wanted.tokens + sum(held.tokens for held in self._open)
        usd = self._usd + wanted.usd + sum(held.usd for held in self._open)
        return not self._open or (_is_within(self._limits.tokens, tokens) and _is_within(self._limits.usd, usd))


def _is_within(limit: float | None, taken: float) -> bool:
    return limit is None or taken <= limit


def _require(name: str, limit: float | None, taken: float, more: float) -> None:
    if _is_within(limit, taken + more):
        return
    raise BudgetSpent(
        f"budget.{name} is {limit:g}, {taken:g} are spent, and the next call may take {more:g}; "
        "to go on, start a run of another name with a larger budget: what was paid for is in the cache"
    )
