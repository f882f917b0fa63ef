"""The response cache: what frozen models answered, as it came, shared by all runs and processes.

An answer is stored before anything parses it: parsing, checking and judging can be repeated without a call.
Nothing is ever evicted. Identical calls of two processes at once are both made: the first answer stays, and both
processes get it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ethos.spec.conversation import Conversation
from ethos.store.canonical import canonical_json, digest, utc_now
from ethos.store.database import CACHE_SCHEMA, Database

_FILE = "responses.db"


@dataclass(frozen=True, slots=True)
class Response:
    """A raw answer under its key. `meta` says what was asked, for whoever traces a row back to it.

    Raises ValueError for text that has no UTF-8 form: found here, it fails alone, not with those that share its commit.
    """

    key: str
    raw: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.raw + canonical_json(dict(self.meta))).encode()


def cache_directory() -> Path:
    """`$ETHOS_CACHE`, else `$XDG_CACHE_HOME/ethos`, else `~/.cache/ethos`."""
    if own := os.environ.get("ETHOS_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "ethos"
    return Path.home() / ".cache" / "ethos"


def response_key(
    fingerprint: str,
    kind: Literal["sample", "score"],
    prompt: Conversation,
    params: Mapping[str, Any],
    draw: int = 0,
    attempt: int = 0,
) -> str:
    """The key of one call, 64 hex digits.

    `params` holds whatever else shapes the answer: sampling parameters, or the reply to score.
    """
    return digest([fingerprint, kind, prompt.canonical(), dict(params), draw, attempt])


def find_responses(directory: Path, keys: Iterable[str]) -> dict[str, Response]:
    """What the cache of that directory holds under these keys; nothing where there is no cache."""
    path = directory / _FILE
    if not path.exists():
        return {}
    database = Database.open(path, CACHE_SCHEMA, read_only=True)
    try:
        rows = database.query(
            "SELECT key, raw, meta FROM responses WHERE key IN (SELECT value FROM json_each(?))",
            (canonical_json(list(keys)),),
        )
        return {row["key"]: Response(row["key"], row["raw"], json.loads(row["meta"])) for row in rows}
    finally:
        database.close()


class ResponseCache:
    """`<directory>/responses.db`. `once` belongs to the event loop, the rest to any thread."""

    def __init__(self, directory: Path) -> None:
        self._database = Database.open(directory / _FILE, CACHE_SCHEMA)
        self._in_flight: dict[str, asyncio.Task[str]] = {}
        self._waiters: set[asyncio.Future[str]] = set()
        self._is_settled = False
        self._unwritten: deque[Response] = deque()
        self._writing = threading.Lock()

    def get(self, key: str) -> str | None:
        """The raw answer, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, str]:
        """The raw answers that are there, by key."""
        rows = self._database.query(
            "SELECT key, raw FROM responses WHERE key IN (SELECT value FROM json_each(?))",
            (canonical_json(list(keys)),),
        )
        return {row["key"]: row["raw"] for row in rows}

    def put_many(self, responses: Iterable[Response]) -> None:
        """Stores answers in one commit, on the disk when this returns. The first answer under a key stays."""
        created = utc_now()
        rows = [(r.key, canonical_json(dict(r.meta)), r.raw, created) for r in responses]
        with self._database.transaction(durable=True) as connection:
            connection.executemany("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)", rows)

    async def once(
        self, key: str, make: Callable[[], Awaitable[str]], meta: Mapping[str, Any] | None = None
    ) -> tuple[str, bool]:
        """The raw answer, and whether it came without a new call: from the file, or from a call in flight.

        If `make` fails, everyone who waits for it gets its error, and nothing is stored. If a waiter is
        cancelled, the call goes on and its answer is kept: it may be paid for already.
        """
        if self._is_settled:
            raise asyncio.CancelledError("the response cache takes no more calls")
        running = self._in_flight.get(key)
        if running is not None:
            return await self._answer(running), True
        stored = self.get(key)
        if stored is not None:
            return stored, True
        task = asyncio.create_task(self._make_and_store(key, make, meta or {}))
        self._in_flight[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return await self._answer(task), False

    async def settle(self) -> None:
        """Ends `once`, for good: waits until all calls in flight have ended and their answers are stored.

        Whoever waits for an answer, or asks for one afterwards, is cancelled, so that nothing new comes of it.
        """
        self._is_settled = True
        for waiter in self._waiters:
            waiter.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight.values())

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    async def _answer(self, call: asyncio.Task[str]) -> str:
        waiter = asyncio.shield(call)
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._waiters.remove(waiter)

    async def _make_and_store(self, key: str, make: Callable[[], Awaitable[str]], meta: Mapping[str, Any]) -> str:
        raw = await make()
        self._unwritten.append(Response(key, raw, meta))
        return await asyncio.to_thread(self._stored, key)

    def _stored(self, key: str) -> str:
        self._write_what_waits()
        return self.get_many([key])[key]

    def _write_what_waits(self) -> None:
        """Group commit: answers that come while one commit is under way share the next."""
        with self._writing:
            batch: list[Response] = []
            while self._unwritten:
                batch.append(self._unwritten.popleft())
            if not batch:
                return
            try:
                self.put_many(batch)
            except BaseException:
                self._unwritten.extend(batch)  # whoever waits for one of these tries next, and hears of it too
                raise

    def _landed(self, key: str, task: asyncio.Task[str]) -> None:
        del self._in_flight[key]
        if not task.cancelled():
            task.exception()  # marks it as seen: every waiter may have gone
