"""The queue before the compute thread: what waits, what joins those that are decoded, and when scores have a turn.

Callers on the event loop submit and wait; `_run` moves everything on by jobs on the compute thread, and ends when
nothing is left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ethos.models.decoding import Decoding, Running
from ethos.models.fallback import decode_closed, score_closed
from ethos.models.loading import Loaded
from ethos.models.templates import ChatTemplate
from ethos.models.types import TokenLogprobs
from ethos.models.worker import Worker

T = TypeVar("T")

_JOIN_SHARE = 4  # while others run, new sequences or scores wait until they fill a quarter of the slots
_SCORES_WAIT_STEPS = 24  # or so long


@dataclass(slots=True)
class SampleRequest:
    """Draws of one prompt, which come back together."""

    group: list[Running]
    unfinished: int
    future: asyncio.Future[list[Running]]


@dataclass(slots=True)
class ScoreRequest:
    """Replies to one prompt."""

    prompt: np.ndarray
    replies: list[np.ndarray]
    future: asyncio.Future[list[TokenLogprobs]]

    @property
    def tokens(self) -> int:
        """Of the longest sequence."""
        return len(self.prompt) + max(len(reply) for reply in self.replies)


class Batching:
    """Continuous batching of samples and scores with one model; closed batches where it has no `decoding`."""

    def __init__(
        self,
        name: str,
        loaded: Loaded,
        template: ChatTemplate,
        worker: Worker,
        decoding: Decoding | None,
        slots: int,
    ) -> None:
        self._name, self._loaded, self._template, self._worker = name, loaded, template, worker
        self._decoding, self._slots = decoding, slots
        self._samples: deque[SampleRequest] = deque()
        self._scores: deque[ScoreRequest] = deque()
        self._owners: dict[int, SampleRequest] = {}
        self._in_work: list[ScoreRequest] = []
        self._steps_without_scores = 0
        self._pump: asyncio.Task[None] | None = None
        self._is_stopped = False

    def new_future(self) -> asyncio.Future[Any]:
        """For a request of the running event loop.

        Raises CancelledError after `stop`, and RuntimeError while it is at work for another loop.
        """
        if self._is_stopped:
            raise asyncio.CancelledError(f"{self._name}: was stopped")
        loop = asyncio.get_running_loop()
        if self._pump is not None and not self._pump.done() and self._pump.get_loop() is not loop:
            raise RuntimeError(f"{self._name}: is at work for another event loop; give each an engine of its own")
        return loop.create_future()

    def submit(self, requests: Sequence[SampleRequest | ScoreRequest]) -> None:
        """Queues requests in this order, all at once; their futures are resolved in time."""
        for request in requests:
            if isinstance(request, ScoreRequest):
                self._scores.append(request)
            else:
                self._owners.update({id(running): request for running in request.group})
                self._samples.append(request)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Drops all work, for good: whoever waits for it is cancelled, and so is whoever asks for more."""
        self._is_stopped = True
        if self._pump is not None:
            self._pump.cancel()
        self._fail(asyncio.CancelledError(f"{self._name}: was stopped"))

    async def _run(self) -> None:
        """Ticks until nothing is left. A failure reaches everyone who waits."""
        try:
            while self._has_work():
                await self._tick()
                if self._decoding is not None and not self._has_work():
                    await self._worker.run(self._decoding.rest)  # what is submitted meanwhile is found by the loop
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _has_work(self) -> bool:
        return bool(self._samples or self._scores or self._owners)

    async def _tick(self) -> None:
        """One unit of work: scores, then new sequences, if it is worth reading all weights for them; a step for all."""
        if self._decoding is None:
            await self._tick_closed()
            return
        if self._scores and self._may_score():
            self._steps_without_scores = 0
            batch = self._score_batch()
            tasks = [(request.prompt, request.replies) for request in batch]
            self._in_work = batch
            results = await self._worker.run(self._decoding.score_many, tasks)
            for request, result in zip(batch, results, strict=True):
                _resolve(request.future, result)
        joining = self._joining()
        if joining:
            self._settle(await self._worker.run(self._decoding.admit, [request.group for request in joining]))
        if self._decoding.running:
            self._steps_without_scores += 1
            self._settle(self._stopped(await self._worker.run(self._decoding.step)))

    def _may_score(self) -> bool:
        """Whether there is room for scores, and enough of them wait, or they have waited long enough."""
        assert self._decoding is not None
        if not self._decoding.running:
            return True
        enough = self._steps_without_scores >= _SCORES_WAIT_STEPS or len(self._scores) >= self._slots // _JOIN_SHARE
        return enough and self._decoding.has_room(1, self._scores[0].tokens)

    def _score_batch(self) -> list[ScoreRequest]:
        """As many as fit, at least one; they take a slot each."""
        assert self._decoding is not None
        batch, longest = [self._scores.popleft()], 0
        while self._scores:
            longest = max(longest, batch[-1].tokens, self._scores[0].tokens)
            if not self._decoding.has_room(len(batch) + 1, longest):
                break
            batch.append(self._scores.popleft())
        return batch

    def _joining(self) -> list[SampleRequest]:
        """Requests that start now: as many as fit, but not a few at a time, since each prefill reads all weights."""
        assert self._decoding is not None
        fitting, sequences, longest = 0, 0, 0
        for request in self._samples:
            longest = max(longest, request.group[0].limit)
            alone = fitting == 0 and not self._decoding.running
            if not alone and not self._decoding.has_room(sequences + len(request.group), longest):
                break
            sequences += len(request.group)
            fitting += 1
        is_worth_it = fitting == len(self._samples) or sequences >= self._slots // _JOIN_SHARE
        if self._decoding.running and not is_worth_it:
            return []
        return [self._samples.popleft() for _ in range(fitting)]

    async def _tick_closed(self) -> None:
        model, ends = self._loaded.model, self._loaded.end_tokens
        if self._scores:
            request = self._scores.popleft()
            self._in_work = [request]
            _resolve(request.future, await self._worker.run(score_closed, model, request.prompt, request.replies))
        elif self._samples:
            batch: list[Running] = []
            while self._samples and len(batch) + len(self._samples[0].group) <= self._slots:
                batch.extend(self._samples.popleft().group)
            await self._worker.run(decode_closed, model, batch, ends, self._has_stop)
            self._settle(batch)

    def _stopped(self, ended: list[Running]) -> list[Running]:
        """Adds to those that ended the ones whose text has reached one of their stop strings."""
        assert self._decoding is not None
        found = [r for r in self._decoding.running if self._has_stop(r)]
        for running in found:
            running.finish = "stop"
        if found:
            self._decoding.drop(found)
        return ended + found

    def _has_stop(self, running: Running) -> bool:
        if not running.params.stop:
            return False
        tail = self._template.decode(tuple(running.tokens[-16:]))
        return any(stop in tail for stop in running.params.stop)

    def _settle(self, ended: Sequence[Running]) -> None:
        for running in ended:
            request = self._owners.pop(id(running))
            request.unfinished -= 1
            if request.unfinished == 0:
                _resolve(request.future, request.group)

    def _fail(self, error: BaseException) -> None:
        waiting = {id(request): request for request in self._owners.values()}
        futures = (
            [r.future for r in waiting.values()] + [r.future for r in self._scores] + [r.future for r in self._in_work]
        )
        self._samples.clear()
        self._scores.clear()
        self._owners.clear()
        self._in_work = []
        if self._decoding is not None:
            self._decoding.running.clear()
        for future in futures:
            if not future.done():
                if isinstance(error, asyncio.CancelledError):
                    future.cancel()
                else:
                    future.set_exception(error)


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
