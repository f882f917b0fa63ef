"""Keys and values of prompts computed before, kept so that a shared beginning is never computed twice."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's tokens with their keys and values, shape [L, K, S, D] each."""

    tokens: np.ndarray
    keys_LKSD: Tensor
    values_LKSD: Tensor

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""
        return 2 * self.keys_LKSD.numel() * self.keys_LKSD.element_size()


class PrefixCache:
    """The least recently used go first once `limit_bytes` are held."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._held_bytes = limit_bytes, 0
        self._entries: OrderedDict[bytes, Prefix] = OrderedDict()

    def longest(self, tokens: np.ndarray) -> tuple[Prefix | None, int]:
        """The entry that shares the longest beginning with `tokens`, and how many tokens that is."""
        best, best_key, best_length = None, None, 0
        for key, entry in self._entries.items():
            length = shared_length(entry.tokens, tokens)
            if length > best_length:
                best, best_key, best_length = entry, key, length
        if best_key is not None:
            self._entries.move_to_end(best_key)
        return best, best_length

    def add(self, entry: Prefix) -> None:
        """Keeps an entry, and drops the oldest while there are too many bytes."""
        key = entry.tokens.tobytes()
        if key in self._entries or entry.size_bytes > self._limit_bytes:
            return
        self._entries[key] = entry
        self._held_bytes += entry.size_bytes
        while self._held_bytes > self._limit_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._held_bytes -= dropped.size_bytes

    def clear(self) -> None:
        """Forgets everything: the weights have changed."""
        self._entries.clear()
        self._held_bytes = 0


def shared_length(a: np.ndarray, b: np.ndarray) -> int:
    """How many leading tokens are the same."""
    short = min(len(a), len(b))
    differs = np.nonzero(a[:short] != b[:short])[0]
    return int(differs[0]) if len(differs) else short
