"""The one retry policy of all endpoints: what is tried again, how often, and how long is waited in between."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

RETRYABLE_STATUSES = frozenset({408, 409, 429})
"""Beside these, every 5xx; a timeout, a broken connection and a malformed answer are retried as well."""

BUSY_STATUSES = frozenset({429, 503, 529})
"""By which a server says that it has too much to do; 529 is Anthropic's."""


class CallFailed(Exception):
    """One attempt came to nothing. Never leaves this package."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        timed_out: bool = False,
    ) -> None:
        """`status` is None where no HTTP status tells what went wrong: such a failure may pass, and is retried."""
        super().__init__(reason)
        self.reason, self.status, self.retry_after_s = reason, status, retry_after_s
        self.is_for_load = timed_out or status in BUSY_STATUSES
        """Whether the server may have had too much to do."""

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is None or self.status in RETRYABLE_STATUSES or self.status >= 500


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter. A server's Retry-After goes first, unless it asks for too long a wait."""

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 120.0
    """Of one attempt, from request to the last byte."""

    def wait_s(self, failed_attempts: int, retry_after_s: float | None, jitter: float) -> float:
        """Seconds before the next attempt; `jitter` in [0, 1) spreads callers over the upper half of the wait."""
        backoff = min(self.first_wait_s * 2 ** (failed_attempts - 1), self.longest_wait_s) * (0.5 + jitter / 2)
        return backoff if retry_after_s is None else max(retry_after_s, 0.0)

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Awaits `attempt` until it succeeds. Raises the last CallFailed when it can't pass or attempts are used up."""
        failed_attempts = 0
        while True:
            try:
                return await attempt()
            except CallFailed as failure:
                failed_attempts += 1
                too_long = (failure.retry_after_s or 0) > self.longest_wait_s
                if not failure.may_pass or too_long or failed_attempts >= self.attempts:
                    raise
                wait_s = self.wait_s(failed_attempts, failure.retry_after_s, random.random())
            await asyncio.sleep(wait_s)


DEFAULT_RETRIES = RetryPolicy()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: `Retry-After` as seconds or as a date (RFC 9110, 10.2.3), or None."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
