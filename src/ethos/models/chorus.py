"""Several models in one part, each with its share of the draws.

Which of them makes a draw depends on prompt, seed and draw alone, so the same draw is the same voice's again. One that
goes down is set aside and its draws go to the others: the work goes on as long as one is left.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ethos.models.endpoints import EndpointFailed
from ethos.models.types import Sample, Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.store.canonical import digest


@dataclass(frozen=True, slots=True)
class Voice:
    """One of them; its share is its weight over the sum of all."""

    model: Sampler
    weight: float


class Chorus:
    """A `Sampler` over its voices; `Sample.author` names the one that made it."""

    def __init__(self, voices: Sequence[Voice], set_aside: Callable[[str], None]) -> None:
        """`set_aside` is told of a voice that goes down, and why."""
        self.name = "chorus of " + ", ".join(voice.model.name for voice in voices)
        self.fingerprint = digest([[voice.model.fingerprint, voice.weight] for voice in voices])
        self._voices = list(voices)
        self._set_aside = set_aside

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the voices that are left."""
        return tuple(voice.model.fingerprint for voice in self._voices)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`; draws of one voice are asked for together.

        Raises EndpointFailed if no voice is left.
        """
        made: dict[int, Sample] = {}
        while missing := [draw for draw in draws if draw not in made]:
            dealt: dict[str, list[int]] = defaultdict(list)
            among = {voice.model.name: voice for voice in self._voices}
            for draw in missing:
                dealt[self._deal(prompt, params, draw)].append(draw)
            asked = [(among[name], own) for name, own in dealt.items()]
            found = await asyncio.gather(
                *(voice.model.sample(prompt, params, own) for voice, own in asked), return_exceptions=True
            )
            for (voice, _), samples in zip(asked, found, strict=True):
                if isinstance(samples, EndpointFailed):
                    self._lose(voice, samples)
                elif isinstance(samples, BaseException):
                    raise samples
                else:
                    made |= {sample.draw: replace(sample, author=voice.model.name) for sample in samples}
        return [made[draw] for draw in draws]

    def _deal(self, prompt: Conversation, params: SamplingParams, draw: int) -> str:
        noise = random.Random(f"{prompt.digest()}/{params.seed}/{draw}")
        names = [voice.model.name for voice in self._voices]
        return noise.choices(names, [voice.weight for voice in self._voices])[0]

    def _lose(self, voice: Voice, why: EndpointFailed) -> None:
        if voice not in self._voices:  # another call has found out before
            return
        if len(self._voices) == 1:
            raise why
        self._voices.remove(voice)
        left = ", ".join(voice.model.name for voice in self._voices)
        self._set_aside(f"{voice.model.name} is set aside, and {left} draws in its place: {why}")
