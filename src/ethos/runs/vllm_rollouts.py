"""Rollouts by a vLLM server: before it draws, it is given the adapter as the policy has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from ethos.models.sampling import noise_key
from ethos.models.templates import ChatTemplate
from ethos.models.thinking import split_thinking
from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.models.vllm_server import Drawn, VllmServer
from ethos.models.worker import Worker
from ethos.spec.conversation import Conversation
from ethos.training.policy import Policy

_SEEDS = 2**63


class VllmRollouts:
    """Draws as an engine of the policy does, elsewhere. A draw's seed is ours; what vLLM makes of it is its own."""

    def __init__(self, server: VllmServer, policy: Policy, worker: Worker, folder: Path) -> None:
        """`folder` is where the adapter passes through; the server has to be able to read it."""
        self.name = f"vLLM at {server.address}"
        self._server, self._policy, self._worker, self._folder = server, policy, worker, folder
        self._weights = ""
        self._published: str | None = None

    def weights_changed(self, fingerprint: str) -> None:
        """The adapter that the server has is of an earlier step from now on."""
        self._weights = fingerprint

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """All draws of all prompts, at once. Raises EthosError if the server fails."""
        await self._publish()
        template = self._policy.template

        async def group(prompt: Conversation) -> list[Sample]:
            tokens = template.prompt(prompt)
            seeds = [int(noise_key(params.seed, prompt.digest(), draw)) % _SEEDS for draw in draws]
            ends = self._policy.loaded.end_tokens
            drawn = await asyncio.gather(
                *(self._server.draw(tokens, params, seed, self._weights, ends) for seed in seeds)
            )
            advance()
            return [_sample(template, len(tokens), draw, reply) for draw, reply in zip(draws, drawn, strict=True)]

        return await asyncio.gather(*map(group, prompts))

    async def _publish(self) -> None:
        if self._published != self._weights:
            await self._worker.run(self._policy.save_adapter, self._folder)
            await self._server.load_adapter(self._folder)
            self._published = self._weights

    async def close(self) -> None:
        """Closes connections."""
        await self._server.close()


def _sample(template: ChatTemplate, prompt_tokens: int, draw: int, reply: Drawn) -> Sample:
    thinking, answer = split_thinking(template.decode(reply.tokens))
    finish: FinishReason = "length" if reply.is_cut_off else "stop"
    usage = Usage(prompt_tokens, len(reply.tokens))
    return Sample(answer.strip(), finish, usage, draw, reply.tokens, reply.logprobs, thinking)
