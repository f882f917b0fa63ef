"""The student as those who ask it find it: frozen as before training, or the policy at a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ethos.models.cached import CachedModel
from ethos.models.engine import Engine
from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.store.canonical import digest
from ethos.store.ledger import POLICY, ModelCall
from ethos.store.records import PolicySample
from ethos.training.frozen import FrozenModel


def frozen_model(engine: Engine) -> FrozenModel:
    """An engine's model as a reference or a teacher in training, on the compute thread."""
    return FrozenModel(engine.loaded.model, engine.forward)


class FrozenStudent:
    """The student before training: it answers through the response cache, and its texts are scored."""

    def __init__(self, engine: Engine, through_cache: CachedModel) -> None:
        self.name, self.fingerprint, self.engine = engine.name, engine.fingerprint, engine
        self._cached = through_cache

    @property
    def frozen(self) -> FrozenModel:
        """As a reference or a teacher in training, on the compute thread."""
        return frozen_model(self.engine)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        return await self._cached.sample(prompt, params, draws)

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """As `BatchSampler`."""

        async def samples(prompt: Conversation) -> list[Sample]:
            made = await self._cached.sample(prompt, params, draws)
            advance()
            return made

        return await asyncio.gather(*map(samples, prompts))

    async def score_text(self, text: str) -> TokenLogprobs:
        """As `Model`."""
        return await self._cached.score_text(text)


class RecordedPolicy:
    """The policy at a step: what it has answered already is read from the records, the rest is sampled and kept.

    What it computes is in the ledger under the role `policy`; the budget is for models that are paid for.
    """

    def __init__(self, engine: Engine, session: Session, branch: str, step: int, purpose: str) -> None:
        self._engine, self._session = engine, session
        self._where = (branch, step, purpose)

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """As `BatchSampler`."""
        known = self._session.records.samples(*self._where)
        asked = {prompt: digest([prompt.digest(), params.to_dict()]) for prompt in prompts}
        missing = [prompt for prompt in asked if any((asked[prompt], draw) not in known for draw in draws)]
        for _ in range(len(prompts) - len(missing)):
            advance()
        if missing:
            made = await self._engine.sample_batch(missing, params, draws, advance)
            new = [
                PolicySample(
                    branch=self._where[0],
                    step=self._where[1],
                    purpose=self._where[2],
                    asked_digest=asked[prompt],
                    draw=sample.draw,
                    payload=asdict(sample),
                )
                for prompt, samples in zip(missing, made, strict=True)
                for sample in samples
            ]
            self._session.records.add_samples(new)
            self._enter([sample.usage for samples in made for sample in samples])
            known |= {(sample.asked_digest, sample.draw): dict(sample.payload) for sample in new}
        return [[_sample(known[asked[prompt], draw]) for draw in draws] for prompt in prompts]

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of the tokens of a text after its first."""
        scored = await self._engine.score_text(text)
        self._enter([Usage(1, len(scored.token_ids))])
        return scored

    def _enter(self, taken: Sequence[Usage]) -> None:
        self._session.ledger.add(policy_calls(self._engine.name, self._where[2], taken))


def policy_calls(model: str, purpose: str, taken: Sequence[Usage]) -> list[ModelCall]:
    """What the policy computed, as the ledger enters it; the budget is for models that are paid for."""
    return [
        ModelCall(
            role=POLICY,
            model=model,
            purpose=purpose,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached=False,
            usd=0.0,
            key="",
        )
        for usage in taken
    ]


def _sample(payload: dict[str, Any]) -> Sample:
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in payload.items()
    }
    return Sample(**{**given, "usage": Usage(**payload["usage"])})
