"""How hard an endpoint may be driven: requests at once, and requests and tokens a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from ethos.models.endpoints.concurrency import Slots

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one endpoint. None: no limit."""

    concurrency: int = 256  # at most; how many it is, the endpoint's speed decides
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # of prompts and replies, by the most that a reply may take until it is there


DEFAULT_LIMITS = Limits()


class Limiter:
    """Keeps to the limits on one event loop."""

    def __init__(self, limits: Limits, minute_s: float = MINUTE_S) -> None:
        self.slots = Slots(limits.concurrency)
        """One is held for the whole of a call, waits between its attempts included: a busy endpoint gets less to do."""
        self._requests, self._tokens = (
            None if most is None else _Rate(most, minute_s)
            for most in (limits.requests_per_minute, limits.tokens_per_minute)
        )
        self._turn = asyncio.Lock()  # callers go in the order in which they came

    async def turn(self, most_tokens: int) -> Admission:
        """Waits until one more request keeps to the rates, and counts it."""
        if self._requests is None and self._tokens is None:
            return Admission()
        async with self._turn:
            if self._requests is not None:
                await self._requests.wait_for(1)
            counted = None
            if self._tokens is not None:
                await self._tokens.wait_for(most_tokens)
                counted = self._tokens.count(most_tokens)
            if self._requests is not None:
                self._requests.count(1)
            return Admission(self._tokens, counted)


@dataclass(slots=True)
class _Counted:
    """What was let in at a time."""

    at_s: float
    amount: int
    is_in_window: bool = True


@dataclass(frozen=True, slots=True)
class Admission:
    """One request that was let in."""

    rate: _Rate | None = None
    counted: _Counted | None = None

    def settle(self, tokens: int) -> None:
        """Counts what it took in place of the most that it could take; an endpoint that tells 0 tells nothing."""
        if self.rate is not None and self.counted is not None and tokens:
            self.rate.settle(self.counted, tokens)


class _Rate:
    """No window of a minute holds more than `most`; one that is more by itself goes when the window is empty."""

    def __init__(self, most: int, minute_s: float) -> None:
        self._most, self._minute_s = most, minute_s
        self._counted: deque[_Counted] = deque()
        self._total = 0
        self._settled = asyncio.Event()

    async def wait_for(self, amount: int) -> None:
        """Until so much more keeps to the rate."""
        clock = asyncio.get_running_loop().time
        while True:
            while self._counted and self._counted[0].at_s + self._minute_s <= clock():
                gone = self._counted.popleft()
                gone.is_in_window = False
                self._total -= gone.amount
            if not self._counted or self._total + amount <= self._most:
                return
            self._settled.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._counted[0].at_s + self._minute_s - clock()):
                    await self._settled.wait()

    def count(self, amount: int) -> _Counted:
        """From now on."""
        counted = _Counted(asyncio.get_running_loop().time(), amount)
        self._counted.append(counted)
        self._total += amount
        return counted

    def settle(self, counted: _Counted, amount: int) -> None:
        """Another amount in its place."""
        if counted.is_in_window:
            self._total += amount - counted.amount
            counted.amount = amount
            self._settled.set()
