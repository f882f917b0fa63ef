"""The limits of a run: reserved when a call is admitted, settled when it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.store.config_sections import BudgetConfig


class BudgetSpent(EthosError):
    """A call would go past the budget; what was paid for is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Room held for one call, to be settled exactly once."""

    tokens: int
    usd: float


class Budget:
    """Counts what is spent and what is reserved. Safe from several threads."""

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
        self._lock = threading.Lock()

    def reserve(self, tokens: int, usd: float = 0.0) -> Reservation:
        """Holds room for one call, by the most it can take. Raises BudgetSpent if that goes past a limit."""
        with self._lock:
            held = [(r.tokens, r.usd) for r in self._open]
            self._require("tokens", self._limits.tokens, self._tokens + sum(t for t, _ in held), tokens)
            self._require("usd", self._limits.usd, self._usd + sum(u for _, u in held), usd)
            self._require("minutes", self._limits.minutes, (self._clock() - self._start_s) / 60, 0)
            reservation = Reservation(tokens, usd)
            self._open.add(reservation)
            return reservation

    def settle(self, reservation: Reservation, tokens: int, usd: float = 0.0) -> None:
        """Replaces a reservation by what the call took: zero if it failed, or if the cache had the answer."""
        with self._lock:
            self._open.remove(reservation)
            self._tokens += tokens
            self._usd += usd

    @staticmethod
    def _require(name: str, limit: float | None, taken: float, more: float) -> None:
        if limit is None or taken + more <= limit:
            return
        raise BudgetSpent(
            f"budget.{name} is {limit:g}, {taken:g} are spent or held, and the next call may take {more:g}; "
            "to go on, start a run of another name with a larger budget: what was paid for is in the cache"
        )
