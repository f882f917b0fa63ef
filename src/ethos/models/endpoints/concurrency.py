"""How many requests an endpoint is given at once: as many as make it faster, and no more.

A vendor's server says with a 429 that it has too much to do; one's own says nothing, it answers later. So what counts
is how much work is done in a second: in rounds, the limit is raised while that grows, and lowered where as much is done
with less. Errors do no work, so a server that fails under load gets less of it; a few that come by chance change
nothing. A refusal for being busy or a timeout lowers the limit at once, by a fifth (multiplicative decrease, as in Chiu
and Jain 1989); those of requests that were under way at the last cut tell nothing new.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

PLACE: ContextVar[int] = ContextVar("PLACE", default=0)
"""Of the work that a request belongs to, in its order: what came first is finished first."""

FIRST_LIMIT = 8
_FEWEST_ANSWERS = 16  # of a round: fewer say little of a server whose answers take now longer, now shorter
_STILL_DOUBLES = 1.25  # as much more work of twice the requests, or the server has all it can do
_WORTH_MORE, _LITTLE_LESS = 1.1, 0.97  # work of a probe, by which a limit stays that was raised, or lowered
_RAISED, _LOWERED, _CUT = 1.25, 0.8, 0.8
_ROUNDS_BETWEEN_PROBES = 4
_PAUSE_S = 15.0  # after a cut, before more is tried
_MOSTLY_BUSY = 0.8  # share of a round's answers that came while all slots were taken, or it says nothing


@dataclass(slots=True)
class _Round:
    """What was answered under one limit."""

    began_s: float
    answers: int = 0
    busy: int = 0  # that came while all slots were taken
    work: float = 0.0


@dataclass(slots=True)
class Controller:
    """Finds the limit from what comes of requests. Times are seconds of `clock`.

    Requests of a kind are alike. Of each kind the first answers say how long one takes, which from then on is how much
    work it is: so judgements of one token and documents of a thousand can be added up.
    """

    most: int
    clock: Callable[[], float] = time.monotonic
    limit: int = field(init=False)
    _round: _Round = field(init=False)
    _seconds: dict[Hashable, tuple[int, float]] = field(
        init=False, default_factory=lambda: defaultdict(lambda: (0, 0.0))
    )
    _rate: float | None = field(init=False, default=None)  # of work, under the limit that is kept to
    _kept: int = field(init=False)  # that limit, beside a probe's
    _doubles: bool = field(init=False, default=True)
    _rounds: int = field(init=False, default=0)  # since the last probe
    _probes_up: bool = field(init=False, default=True)  # the next probe
    _cut_s: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.limit = self._kept = min(FIRST_LIMIT, self.most)
        self._round = _Round(self.clock())

    def rested(self) -> None:
        """There was nothing to do until now, which says nothing of how fast the endpoint is."""
        self._round = _Round(self.clock())

    def answered(self, kind: Hashable, began_s: float, *, busy: bool) -> None:
        """A request that began then has its answer; `busy` if all slots were taken until now."""
        now = self.clock()
        count, mean = self._seconds[kind]
        if count < _FEWEST_ANSWERS:
            count, mean = count + 1, mean + (now - began_s - mean) / (count + 1)
            self._seconds[kind] = count, mean
        self._round.answers += 1
        self._round.busy += busy
        self._round.work += mean
        if self._round.answers >= max(self.limit, _FEWEST_ANSWERS):
            self._conclude(now)

    def failed(self, began_s: float, why: str) -> None:
        """A request that began then was turned down for load, or timed out: there is less at once from now on."""
        if began_s <= self._cut_s:
            return
        self._cut_s, self._doubles, self._rate = self.clock(), False, None
        self._keep(max(1, int(min(self.limit, self._kept) * _CUT)), why)

    def _conclude(self, now: float) -> None:
        """What follows from a round."""
        ended, self._round = self._round, _Round(now)
        if ended.busy < _MOSTLY_BUSY * ended.answers or now <= ended.began_s:
            return
        rate = ended.work / (now - ended.began_s)
        if self._rate is None:
            self._rate = rate
            if self._doubles:
                self._try(2 * self.limit)
        elif self.limit != self._kept:
            self._judge_probe(rate)
        elif self._rounds < _ROUNDS_BETWEEN_PROBES:
            self._rate += (rate - self._rate) / 2
            self._rounds += 1
        elif now - self._cut_s > _PAUSE_S or not self._probes_up:
            self._rounds = 0
            raised = max(self._kept + 1, int(self._kept * _RAISED))
            self._try(raised if self._probes_up else int(self._kept * _LOWERED))

    def _judge_probe(self, rate: float) -> None:
        """Whether another limit than the one that is kept to is the better one."""
        assert self._rate is not None, "there is one before a probe"
        is_more, gain = self.limit > self._kept, rate / self._rate
        if self._doubles and is_more:
            if gain > _STILL_DOUBLES:
                self._rate = rate
                self._keep(self.limit, f"{gain:.2f} times the work")
                self._try(2 * self.limit)
                return
            self._doubles = False
        if gain > (_WORTH_MORE if is_more else _LITTLE_LESS):
            self._rate = rate
            self._keep(self.limit, f"{gain:.2f} times the work")
        else:
            self._keep(self._kept, "no gain")
        self._probes_up = not is_more

    def _try(self, limit: int) -> None:
        self.limit = min(max(1, limit), self.most)
        if self.limit == self._kept:  # there is no room to try anything else
            self._doubles, self._probes_up = False, not self._probes_up

    def _keep(self, limit: int, why: str) -> None:
        _log.debug("%d requests at once after %d: %s", limit, self.limit, why)
        self.limit = self._kept = limit
        self._rounds = 0
        self._round = _Round(self.clock())


class Slots:
    """As many calls at once as the controller says; of those that wait, the one whose work came first goes first."""

    def __init__(self, most: int) -> None:
        self.controller = Controller(most)
        self._taken = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @property
    def is_full(self) -> bool:
        """Whether one more would have to wait."""
        return self._taken >= self.controller.limit

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A slot, held during the block."""
        await self._take()
        try:
            yield
        finally:
            self._taken -= 1
            self.fill()

    def fill(self) -> None:
        """Lets in who waits, as far as there is room."""
        while self._waiting and not self.is_full:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # it may have been cancelled
                self._taken += 1
                turn.set_result(None)

    async def _take(self) -> None:
        if not self._taken:
            self.controller.rested()
        if not self.is_full and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (PLACE.get(), next(self._arrivals), turn))
        self.fill()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in at the same moment
                self._taken -= 1
                self.fill()
            raise
