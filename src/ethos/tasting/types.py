"""What tasting needs of a student: the in-process engine has it, and so has anything else with these methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ethos.models.types import Sample, SamplingParams, TokenLogprobs
from ethos.spec.conversation import Conversation


class BatchSampler(Protocol):
    """Answers conversations as a closed batch, so that a look doesn't depend on what else is computed."""

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """For each prompt one sample a draw, in order; `advance` is called as each prompt's samples are there."""
        ...


class Student(BatchSampler, Protocol):
    """A sampler that can also be measured on plain text."""

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of the tokens of a text after its first."""
        ...
