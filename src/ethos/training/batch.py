"""Rows as tokens, packed into micro-batches: sequences lie one after another, and no token of one sees another.

Shapes: `N` flat tokens, `M` targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence; tokens from `target_start` on are targets."""

    row_id: str
    tokens: tuple[int, ...]
    target_start: int

    def __post_init__(self) -> None:
        if not 1 <= self.target_start < len(self.tokens):
            raise ValueError(f"row {self.row_id}: a target needs a token before it, and there must be one")

    @property
    def targets(self) -> int:
        """How many tokens carry loss."""
        return len(self.tokens) - self.target_start


@dataclass(frozen=True, slots=True)
class Batch:
    """A packed micro-batch."""

    row_ids: tuple[str, ...]
    lengths: tuple[int, ...]  # tokens of each sequence
    tokens_N: Tensor
    positions_N: Tensor
    sources_M: Tensor  # flat index of the token whose hidden state predicts the target
    targets_M: Tensor

    @property
    def tokens(self) -> int:
        """All tokens, prompts included."""
        return int(self.tokens_N.shape[0])


def pack(rows: Sequence[TokenRow], limit_tokens: int) -> list[Batch]:
    """Packs rows, in their order, into micro-batches of at most `limit_tokens` tokens (a longer row is one alone)."""
    groups: list[list[TokenRow]] = []
    used = limit_tokens + 1
    for row in rows:
        if used + len(row.tokens) > limit_tokens:
            groups.append([])
            used = 0
        groups[-1].append(row)
        used += len(row.tokens)
    return [_batch(group) for group in groups]


def _batch(rows: Sequence[TokenRow]) -> Batch:
    tokens: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    for row in rows:
        start = len(tokens)
        tokens.extend(row.tokens)
        positions.extend(range(len(row.tokens)))
        sources.extend(range(start + row.target_start - 1, start + len(row.tokens) - 1))
        targets.extend(row.tokens[row.target_start :])
    lengths = tuple(len(row.tokens) for row in rows)
    as_tensor = [torch.tensor(values) for values in (tokens, positions, sources, targets)]
    return Batch(tuple(row.row_id for row in rows), lengths, *as_tensor)
