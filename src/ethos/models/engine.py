"""The in-process engine: a `Sampler` and `Scorer` over weights in this process, with continuous batching.

Callers on the event loop submit and wait; a pump moves everything on by jobs on the compute thread. The engine of the
policy runs on the very weights that are trained: `weights_changed` is all there is to sync.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward, is_known
from ethos.models.decoding import Decoding, Running
from ethos.models.fallback import decode_closed, score_closed
from ethos.models.loading import Loaded
from ethos.models.memory import KEPT_PROMPT_BYTES, SLOTS
from ethos.models.sampling import noise_key
from ethos.models.templates import ChatTemplate
from ethos.models.thinking import split_thinking
from ethos.models.types import PromptTooLong, Sample, SamplingParams, TokenLogprobs, Usage
from ethos.models.worker import Worker
from ethos.spec.conversation import Conversation

T = TypeVar("T")

_JOIN_SHARE = 4  # while others run, new sequences or scores wait until they fill a quarter of the slots
_SCORES_WAIT_STEPS = 24  # or so long


@dataclass(slots=True)
class _SampleRequest:
    group: list[Running]
    unfinished: int
    future: asyncio.Future[list[Running]]


@dataclass(slots=True)
class _ScoreRequest:
    prompt: np.ndarray
    replies: list[np.ndarray]
    future: asyncio.Future[list[TokenLogprobs]]

    @property
    def tokens(self) -> int:
        """Of the longest sequence."""
        return len(self.prompt) + max(len(reply) for reply in self.replies)


class Engine:
    """Answers and scores conversations with one loaded model.

    A policy's engine is given the policy's own `forward`, since that is what training updates. Otherwise the weights
    never change and are the engine's own: on a CPU it turns them into the order in which they multiply fastest, and
    `loaded.model` can't be used beside it. An engine serves one event loop at a time.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        loaded: Loaded,
        template: ChatTemplate,
        worker: Worker,
        *,
        forward: CausalForward | None = None,
        slots: int = SLOTS,
        prefix_bytes: int = KEPT_PROMPT_BYTES,
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.loaded, self.template, self.worker = loaded, template, worker
        self.context_tokens: int = getattr(loaded.model.config, "max_position_embeddings", 1 << 30)
        is_frozen = forward is None
        if forward is None and is_known(loaded.model):
            forward = CausalForward(loaded.model)
        self.forward = forward
        self._decoding = (
            Decoding(forward, loaded.end_tokens, slots, prefix_bytes, is_frozen=is_frozen) if forward else None
        )
        self._slots = slots
        self._samples: deque[_SampleRequest] = deque()
        self._scores: deque[_ScoreRequest] = deque()
        self._owners: dict[int, _SampleRequest] = {}
        self._in_work: list[_ScoreRequest] = []
        self._steps_without_scores = 0
        self._pump: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """One sample for each index in `draws`; the prompt is computed once for all of them.

        Raises:
            EthosError: if prompt and reply don't fit the model's context.
        """
        return (await self.sample_batch([prompt], params, draws))[0]

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """A closed batch in a fixed order, for rollouts and tastes: nothing else decides what is computed with what.

        `advance` is called as each prompt's samples are there.
        """
        if not draws:
            return [[] for _ in prompts]
        requests = [self._sample_request(prompt, params, draws) for prompt in prompts]
        self._submit(requests)

        async def samples(prompt: Conversation, request: _SampleRequest) -> list[Sample]:
            group = await request.future
            advance()
            return [self._finished(prompt, running) for running in group]

        return await asyncio.gather(*map(samples, prompts, requests))

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """Log-probabilities of each reply after the assistant's header; an empty reply is refused."""
        encoded = [self._tokens(self.template.encode(reply)) for reply in replies]
        if any(len(reply) == 0 for reply in encoded):
            raise EthosError(f"{self.name}: an empty reply can't be scored; drop it")
        return await self._submit_score(self._tokens(self.template.prompt(prompt)), encoded)

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of plain text after its first token."""
        tokens = self._tokens(self.template.encode(text))
        if len(tokens) < 2:
            raise EthosError(f"{self.name}: a text of {len(tokens)} tokens has nothing to score; give a longer one")
        return (await self._submit_score(tokens[:1], [tokens[1:]]))[0]

    def settle(self) -> None:
        """On the compute thread: brings frozen weights into the order in which they are multiplied, once and for all.

        Whatever is computed with them then, through the engine or through `forward`, is computed the same way.
        """
        if self._decoding is not None:
            self._decoding.settle()

    def weights_changed(self, fingerprint: str) -> None:
        """On the compute thread, after an update: forgets all that was computed with the old weights."""
        self.fingerprint = fingerprint
        if self._decoding is not None:
            self._decoding.forget()

    def stop(self) -> None:
        """Drops all work, for good: whoever waits for it is cancelled, and so is whoever asks for more."""
        self._is_stopped = True
        if self._pump is not None:
            self._pump.cancel()
        self._fail(asyncio.CancelledError(f"{self.name}: was stopped"))

    async def _submit_score(self, prompt: np.ndarray, replies: list[np.ndarray]) -> list[TokenLogprobs]:
        if not replies:
            return []
        self._require_room(len(prompt), max(len(reply) for reply in replies))
        request = _ScoreRequest(prompt, replies, self._new_future())
        self._scores.append(request)
        self._start()
        return await request.future

    def _sample_request(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> _SampleRequest:
        tokens = self._tokens(self.template.prompt(prompt))
        self._require_room(len(tokens), params.max_tokens)
        if len(draws) > self._slots:
            raise EthosError(
                f"{self.name}: {len(draws)} draws at once, but the engine has {self._slots} slots; ask for fewer"
            )
        digest = prompt.digest()
        group = [Running(tokens, params, noise_key(params.seed, digest, draw), draw) for draw in draws]
        return _SampleRequest(group, len(group), self._new_future())

    def _submit(self, requests: Sequence[_SampleRequest]) -> None:
        for request in requests:
            self._owners.update({id(running): request for running in request.group})
            self._samples.append(request)
        self._start()

    def _require_room(self, prompt_tokens: int, reply_tokens: int) -> None:
        if prompt_tokens + reply_tokens > self.context_tokens:
            raise PromptTooLong(
                f"{self.name}: a prompt of {prompt_tokens} tokens and a reply of {reply_tokens} don't fit "
                f"its context of {self.context_tokens}; shorten the prompt or lower max_tokens"
            )

    @staticmethod
    def _tokens(ids: tuple[int, ...]) -> np.ndarray:
        return np.asarray(ids, dtype=np.int64)

    def _finished(self, prompt: Conversation, running: Running) -> Sample:
        tokens = tuple(running.tokens)
        text = self.template.decode(
            tokens[:-1] if running.finish == "stop" and tokens[-1] in self.loaded.end_tokens else tokens
        )
        for stop in running.params.stop:
            text = text.split(stop, 1)[0]
        thinking, answer = split_thinking(text)
        usage = Usage(len(running.prompt), len(tokens))
        return Sample(
            answer.strip(),
            running.finish or "stop",
            usage,
            running.draw,
            tokens,
            tuple(running.logprobs),
            thinking,
        )

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    def _new_future(self) -> asyncio.Future[Any]:
        """For a request of the running event loop."""
        if self._is_stopped:
            raise asyncio.CancelledError(f"{self.name}: was stopped")
        loop = asyncio.get_running_loop()
        if self._pump is not None and not self._pump.done() and self._pump.get_loop() is not loop:
            raise RuntimeError(f"{self.name}: is at work for another event loop; give each an engine of its own")
        return loop.create_future()

    async def _run(self) -> None:
        """Ticks until nothing is left. A failure reaches everyone who waits."""
        try:
            while self._has_work():
                await self._tick()
                if self._decoding is not None and not self._has_work():
                    await self.worker.run(self._decoding.rest)  # what is submitted meanwhile is found by the loop
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
            results = await self.worker.run(self._decoding.score_many, tasks)
            for request, result in zip(batch, results, strict=True):
                _resolve(request.future, result)
        joining = self._joining()
        if joining:
            self._settle(await self.worker.run(self._decoding.admit, [request.group for request in joining]))
        if self._decoding.running:
            self._steps_without_scores += 1
            self._settle(self._stopped(await self.worker.run(self._decoding.step)))

    def _may_score(self) -> bool:
        """Whether there is room for scores, and enough of them wait, or they have waited long enough."""
        assert self._decoding is not None
        if not self._decoding.running:
            return True
        enough = self._steps_without_scores >= _SCORES_WAIT_STEPS or len(self._scores) >= self._slots // _JOIN_SHARE
        return enough and self._decoding.has_room(1, self._scores[0].tokens)

    def _score_batch(self) -> list[_ScoreRequest]:
        """As many as fit, at least one; they take a slot each."""
        assert self._decoding is not None
        batch, longest = [self._scores.popleft()], 0
        while self._scores:
            longest = max(longest, batch[-1].tokens, self._scores[0].tokens)
            if not self._decoding.has_room(len(batch) + 1, longest):
                break
            batch.append(self._scores.popleft())
        return batch

    def _joining(self) -> list[_SampleRequest]:
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
        model, ends = self.loaded.model, self.loaded.end_tokens
        if self._scores:
            request = self._scores.popleft()
            self._in_work = [request]
            _resolve(request.future, await self.worker.run(score_closed, model, request.prompt, request.replies))
        elif self._samples:
            batch: list[Running] = []
            while self._samples and len(batch) + len(self._samples[0].group) <= self._slots:
                batch.extend(self._samples.popleft().group)
            await self.worker.run(decode_closed, model, batch, ends, self._has_stop)
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
        tail = self.template.decode(tuple(running.tokens[-16:]))
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
