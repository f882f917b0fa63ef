"""The in-process engine: a `Sampler` and `Scorer` over weights in this process, with continuous batching.

The engine of the policy runs on the very weights that are trained: `weights_changed` is all there is to sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward, is_known
from ethos.models.batching import Batching, SampleRequest, ScoreRequest
from ethos.models.decoding import Decoding, Running
from ethos.models.loading import Loaded
from ethos.models.memory import KEPT_PROMPT_BYTES, SLOTS
from ethos.models.sampling import noise_key
from ethos.models.templates import ChatTemplate
from ethos.models.thinking import split_thinking
from ethos.models.types import PromptTooLong, Sample, SamplingParams, TokenLogprobs, Usage
from ethos.models.worker import Worker
from ethos.spec.conversation import Conversation


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
        self._batching = Batching(name, loaded, template, worker, self._decoding, slots)

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
        self._batching.submit(requests)

        async def samples(prompt: Conversation, request: SampleRequest) -> list[Sample]:
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
        self._batching.stop()

    async def _submit_score(self, prompt: np.ndarray, replies: list[np.ndarray]) -> list[TokenLogprobs]:
        if not replies:
            return []
        self._require_room(len(prompt), max(len(reply) for reply in replies))
        request = ScoreRequest(prompt, replies, self._batching.new_future())
        self._batching.submit([request])
        return await request.future

    def _sample_request(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> SampleRequest:
        tokens = self._tokens(self.template.prompt(prompt))
        self._require_room(len(tokens), params.max_tokens)
        if len(draws) > self._slots:
            raise EthosError(
                f"{self.name}: {len(draws)} draws at once, but the engine has {self._slots} slots; ask for fewer"
            )
        digest = prompt.digest()
        group = [Running(tokens, params, noise_key(params.seed, digest, draw), draw) for draw in draws]
        return SampleRequest(group, len(group), self._batching.new_future())

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
