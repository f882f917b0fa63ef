"""Keys and values of prompts computed before, kept so that a shared beginning is never computed twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
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
    """The least recently used go first once `limit_bytes` are held.

    Beginnings are shared from `block` tokens on. An entry is found under its first block, its first two and so on, so
    that a search takes as long with thousands of entries as with one.
    """

    def __init__(self, limit_bytes: int, block: int) -> None:
        self.block = block
        self._limit_bytes, self._held_bytes = limit_bytes, 0
        self._entries: OrderedDict[bytes, Prefix] = OrderedDict()
        self._latest: dict[bytes, bytes] = {}  # from a beginning of whole blocks to the entry with it used last

    def longest(self, tokens: np.ndarray) -> tuple[Prefix | None, int]:
        """The entry of just these tokens, or the one used last of those that share the most whole blocks with them.

        And how many tokens it shares; None, and 0, if none shares a block.
        """
        for beginning in (tokens.tobytes(), *reversed(list(self._beginnings(tokens)))):
            key = beginning if beginning in self._entries else self._latest.get(beginning)
            if key is not None:
                entry = self._entries[key]
                self._use(key)
                return entry, shared_length(entry.tokens, tokens)
        return None, 0

    def add(self, entry: Prefix) -> None:
        """Keeps an entry of a block or more, and drops the oldest while there are too many bytes."""
        key = entry.tokens.tobytes()
        if key in self._entries or len(entry.tokens) < self.block or entry.size_bytes > self._limit_bytes:
            return
        self._entries[key] = entry
        self._use(key)
        self._held_bytes += entry.size_bytes
        while self._held_bytes > self._limit_bytes:
            oldest, dropped = self._entries.popitem(last=False)
            self._held_bytes -= dropped.size_bytes
            for beginning in self._beginnings(dropped.tokens):
                if self._latest[beginning] == oldest:  # then no entry that is left has it
                    del self._latest[beginning]

    def clear(self) -> None:
        """Forgets everything: the weights have changed."""
        self._entries.clear()
        self._latest.clear()
        self._held_bytes = 0

    def _use(self, key: bytes) -> None:
        self._entries.move_to_end(key)
        self._latest.update(dict.fromkeys(self._beginnings(self._entries[key].tokens), key))

    def _beginnings(self, tokens: np.ndarray) -> Iterator[bytes]:
        """Of whole blocks, the shortest first."""
        return (tokens[:stop].tobytes() for stop in range(self.block, len(tokens) + 1, self.block))


def shared_length(a: np.ndarray, b: np.ndarray) -> int:
    """How many leading tokens are the same."""
    short = min(len(a), len(b))
    differs = np.nonzero(a[:short] != b[:short])[0]
    return int(differs[0]) if len(differs) else short
