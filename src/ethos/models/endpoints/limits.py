"""How hard an endpoint may be driven: requests at once, and requests a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one endpoint. None: no limit."""

    concurrency: int = 8
    requests_per_minute: int | None = None


DEFAULT_LIMITS = Limits()


class Limiter:
    """Keeps to the limits on one event loop; callers go in the order in which they came."""

    def __init__(self, limits: Limits, minute_s: float = MINUTE_S) -> None:
        self.slot = asyncio.Semaphore(limits.concurrency)
        """Held for the whole of a call, waits between its attempts included: a busy endpoint gets less to do."""
        self._minute_s = minute_s
        self._turn = asyncio.Lock()
        self._starts = None if limits.requests_per_minute is None else deque[float](maxlen=limits.requests_per_minute)

    async def turn(self) -> None:
        """Waits until one more request keeps to the rate, and counts it."""
        if self._starts is None:
            return
        clock = asyncio.get_running_loop().time
        async with self._turn:
            if len(self._starts) == self._starts.maxlen:
                await asyncio.sleep(self._starts[0] + self._minute_s - clock())
            self._starts.append(clock())
