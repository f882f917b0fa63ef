"""What tasting needs of a student: the in-process engine has it, and so has anything else with these methods."""

from __future__ import annotations

from typing import Protocol

from ethos.models.types import BatchSampler, TokenLogprobs


class Student(BatchSampler, Protocol):
    """A sampler that can also be measured on plain text."""

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of the tokens of a text after its first."""
        ...
