"""Work that both sides of a bench are given: texts of words that are one token each, drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

Chat = dict[str, str]  # prompt and reply


class Words:
    """Words that SmolLM2's and Qwen's tokenizers write as one token, with the space before them."""

    def __init__(self, tokenizer: Any, seed: int = 0) -> None:
        vocabulary = sorted(tokenizer.get_vocab())
        self._words = [token[1:] for token in vocabulary if token.startswith("Ġ") and token[1:].isalpha()]
        self._words = [word for word in self._words if word.isascii() and word.islower() and len(word) > 3][:4000]
        self._noise = random.Random(seed)

    def text(self, count: int) -> str:
        """So many of them."""
        return " ".join(self._noise.choices(self._words, k=count))

    def chats(self, count: int) -> list[Chat]:
        """Of mixed length: questions of 6 to 30 words, replies of 6 to 150, short ones more often than long ones."""
        return [
            {"prompt": self.text(self._between(6, 30)), "reply": self.text(self._between(6, 150))} for _ in range(count)
        ]

    def pairs(self, count: int, prompt: int, reply: int) -> list[dict[str, str]]:
        """A prompt with two replies, all of the same length."""
        return [
            {"prompt": self.text(prompt), "chosen": self.text(reply), "rejected": self.text(reply)}
            for _ in range(count)
        ]

    def prompts(self, count: int, words: int | Sequence[int]) -> list[str]:
        """Of the same length, or of these in turn."""
        lengths = [words] if isinstance(words, int) else list(words)
        return [self.text(lengths[place % len(lengths)]) for place in range(count)]

    def _between(self, low: int, high: int) -> int:
        """Evenly on a logarithmic scale."""
        return round(low * math.pow(high / low, self._noise.random()))
