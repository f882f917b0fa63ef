"""Several models in one part, each with its share of the draws.

Which of them makes a draw depends on prompt, seed, draw and their names and weights alone, so the same draw is the same
voice's again. One that goes down is set aside and its draws, no others, go to those that are left (weighted rendezvous
hashing: Schindelhauer and Schomaker 2005); what one of them answered then is not asked of another later.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ethos.models.endpoints import EndpointFailed
from ethos.models.types import Sample, Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.store.canonical import digest


class Remembering(Sampler, Protocol):
    """A sampler that knows what it has answered."""

    def answered(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> set[int]:
        """Those of the draws that it has made for this work before."""
        ...


@dataclass(frozen=True, slots=True)
class Voice:
    """One of them; its share is its weight over the sum of all."""

    model: Remembering
    weight: float


class Chorus:
    """A `Sampler` over its voices; `Sample.author` names the one that made it."""

    def __init__(self, voices: Sequence[Voice], set_aside: Callable[[str], None]) -> None:
        """`set_aside` is told of a voice that goes down, and why."""
        self.name = "chorus of " + ", ".join(voice.model.name for voice in voices)
        self.fingerprint = digest([[voice.model.fingerprint, voice.weight] for voice in voices])
        self.fingerprints = tuple(voice.model.fingerprint for voice in voices)
        self._models = {voice.model.name: voice.model for voice in voices}
        self._weights = {voice.model.name: voice.weight for voice in voices}
        self._down: set[str] = set()
        self._set_aside = set_aside

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`; draws of one voice are asked for together.

        Raises EndpointFailed if no voice is left.
        """
        made: dict[int, Sample] = {}
        while missing := [draw for draw in draws if draw not in made]:
            known = {name: model.answered(prompt, params, missing) for name, model in self._models.items()}
            dealt: dict[str, list[int]] = defaultdict(list)
            for draw in missing:
                dealt[self._deal(prompt, params, draw, known)].append(draw)
            found = await asyncio.gather(
                *(self._models[name].sample(prompt, params, own) for name, own in dealt.items()), return_exceptions=True
            )
            for name, samples in zip(dealt, found, strict=True):
                if isinstance(samples, EndpointFailed):
                    self._lose(name, samples)
                elif isinstance(samples, BaseException):
                    raise samples
                else:
                    made |= {sample.draw: replace(sample, author=name) for sample in samples}
        return [made[draw] for draw in draws]

    def _deal(self, prompt: Conversation, params: SamplingParams, draw: int, known: Mapping[str, set[int]]) -> str:
        """The first in the draw's own order that has answered it, or else that isn't down."""

        def place(name: str) -> float:
            noise = random.Random(f"{name}/{prompt.digest()}/{params.seed}/{draw}")
            return -math.log(1 - noise.random()) / self._weights[name]

        ordered = sorted(self._models, key=place)
        up = (name for name in ordered if name not in self._down)
        return next((name for name in ordered if draw in known[name]), None) or next(up)

    def _lose(self, name: str, why: EndpointFailed) -> None:
        if name in self._down:  # another call has found out before
            return
        left = [other for other in self._models if other not in {name, *self._down}]
        if not left:
            raise why
        self._down.add(name)
        self._set_aside(f"{name} is set aside, and {', '.join(left)} draws in its place: {why}")
