"""Rows as tokens, packed into micro-batches: sequences lie one after another, and no token of one sees another.

A row is a prompt and one or more completions of it. The prompt is computed once for all of them.
Shapes: `N` flat tokens, `M` targets, `C` completions, `R` rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from ethos.models.attention import Span
from ethos.training.logprobs import TeacherStates

_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Completion:
    """What follows a prompt. Its targets are the tokens that carry loss: all of them, or those where `mask` is true.

    `signals` are what a loss reads beside the policy's own outputs, by name: a number, or one for each target.
    """

    tokens: tuple[int, ...]
    mask: tuple[bool, ...] | None = None
    signals: Mapping[str, float | tuple[float, ...]] = field(default_factory=lambda: _NONE)

    @property
    def targets(self) -> int:
        """How many tokens carry loss."""
        return len(self.tokens) if self.mask is None else sum(self.mask)


@dataclass(frozen=True, slots=True)
class RowSize:
    """How large a row is, in tokens."""

    tokens: int  # that are computed
    laid_out: int  # of all its sequences, the prompt counted in each: what attention lays side by side
    longest: int  # of the longest sequence: what has to fit the context

    def cost(self, repeat_cost: float) -> float:
        """Tokens, a repeated one at `repeat_cost` of one that is computed."""
        return self.tokens + repeat_cost * max(0, self.laid_out - self.tokens)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A prompt of at least one token, and its completions; `signals` are numbers of the row as a whole.

    A prompt that the policy is to answer itself has no completion yet; only rows that have some can be packed.
    `is_whole` says that the loss compares its completions with each other, so that they stay in one micro-batch.
    `teacher_prompt` is what a teacher sees in the prompt's place, where that is something else.
    """

    row_id: str
    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]
    signals: Mapping[str, float] = field(default_factory=lambda: _NONE)
    is_whole: bool = False
    teacher_prompt: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError(f"row {self.row_id}: a target needs a token before it, so a prompt has one at least")
        for completion in self.completions:
            if completion.mask is not None and len(completion.mask) != len(completion.tokens):
                raise ValueError(f"row {self.row_id}: its mask and its tokens differ in number")
            if completion.targets == 0:
                raise ValueError(f"row {self.row_id}: a completion has no target")
            for name, signal in completion.signals.items():
                if isinstance(signal, tuple) and len(signal) != completion.targets:
                    raise ValueError(f"row {self.row_id}: {name} has {len(signal)} values, not one for each target")

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """The prompt with each of its completions."""
        return tuple((*self.prompt, *completion.tokens) for completion in self.completions)

    @property
    def size(self) -> RowSize:
        """In tokens."""
        prompt, replies = len(self.prompt), [len(completion.tokens) for completion in self.completions]
        return RowSize(
            tokens=prompt + sum(replies),
            laid_out=sum(prompt + reply for reply in replies),
            longest=prompt + max(replies, default=0),
        )

    @property
    def tokens(self) -> int:
        """All that are computed."""
        return self.size.tokens

    @property
    def targets(self) -> int:
        """How many tokens carry loss."""
        return sum(completion.targets for completion in self.completions)


def single(row_id: str, tokens: Sequence[int], target_start: int) -> TokenRow:
    """A row of one sequence, whose tokens from `target_start` on are targets."""
    return TokenRow(row_id, tuple(tokens[:target_start]), (Completion(tuple(tokens[target_start:])),))


@dataclass(frozen=True, slots=True)
class Batch:
    """A packed micro-batch. Targets, completions and rows are in the order in which they were given."""

    rows: tuple[TokenRow, ...]
    spans: tuple[Span, ...]  # of each completion
    tokens_N: Tensor
    positions_N: Tensor
    sources_M: Tensor  # flat index of the token whose hidden state predicts the target
    targets_M: Tensor
    completions_M: Tensor  # which completion a target belongs to
    signals: Mapping[str, Tensor]  # of shape [M], [C] or [R], fp32
    teacher: TeacherStates | None = None

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Of all rows."""
        return tuple(row.row_id for row in self.rows)

    @property
    def tokens(self) -> int:
        """All tokens, prompts included."""
        return int(self.tokens_N.shape[0])

    @property
    def completions(self) -> int:
        """How many there are."""
        return len(self.spans)

    @property
    def lasts_C(self) -> Tensor:
        """Flat index of each completion's last token."""
        return torch.tensor([span.own.stop - 1 for span in self.spans])

    def sum_by_completion(self, values_M: Tensor) -> Tensor:
        """Adds up what each completion's targets have, shape [C]; differentiable."""
        return values_M.new_zeros(self.completions).index_add(0, self.completions_M, values_M)

    def targets_by_completion(self) -> Tensor:
        """How many targets each completion has, shape [C], fp32."""
        return self.sum_by_completion(torch.ones(self.targets_M.shape[0], device=self.targets_M.device))

    def to(self, device: torch.device) -> Batch:
        """The same with its tensors there."""
        if device == self.tokens_N.device:
            return self
        names = ("tokens_N", "positions_N", "sources_M", "targets_M", "completions_M")
        moved = {name: getattr(self, name).to(device) for name in names}
        return replace(self, **moved, signals={name: signal.to(device) for name, signal in self.signals.items()})


def pack(rows: Iterable[TokenRow], limit_tokens: int, repeat_cost: float = 0.0) -> list[Batch]:
    """Packs rows, in their order, into micro-batches of at most `limit_tokens` tokens.

    A prompt that several completions share is computed once, but attention lays it out with each: `repeat_cost` says
    what part of a token's memory that takes.

    A row that is larger is taken apart between its completions, its prompt repeated, unless its loss compares them; a
    sequence that is longer than the limit is a micro-batch alone.
    """
    groups: list[list[TokenRow]] = []
    used = limit_tokens + 1.0
    for row in rows:
        if not row.completions:
            raise ValueError(f"row {row.row_id}: has no completion, so there is nothing to train on")
        for part in _parts(row, limit_tokens, repeat_cost):
            cost = part.size.cost(repeat_cost)
            if used + cost > limit_tokens:
                groups.append([])
                used = 0.0
            groups[-1].append(part)
            used += cost
    return [one_batch(group) for group in groups]


def _parts(row: TokenRow, limit_tokens: int, repeat_cost: float) -> list[TokenRow]:
    if row.is_whole or row.size.cost(repeat_cost) <= limit_tokens:
        return [row]
    parts: list[TokenRow] = []
    for completion in row.completions:
        joined = replace(row, completions=(*parts[-1].completions, completion)) if parts else row
        if parts and joined.size.cost(repeat_cost) <= limit_tokens:
            parts[-1] = joined
        else:
            parts.append(replace(row, completions=(completion,)))
    return parts


def one_batch(rows: Sequence[TokenRow]) -> Batch:
    """All of these rows as one micro-batch."""
    tokens: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    completions: list[int] = []
    spans: list[Span] = []
    for row in rows:
        first = len(tokens)
        prompt = range(first, first + len(row.prompt))
        tokens.extend(row.prompt)
        positions.extend(range(len(prompt)))
        for number, completion in enumerate(row.completions):
            start = len(tokens)
            tokens.extend(completion.tokens)
            positions.extend(range(len(prompt), len(prompt) + len(completion.tokens)))
            for offset, token in enumerate(completion.tokens):
                if completion.mask is None or completion.mask[offset]:
                    sources.append(start + offset - 1 if offset else prompt.stop - 1)
                    targets.append(token)
                    completions.append(len(spans))
            # the first completion's sequence computes the prompt; the others' take it up
            spans.append(Span(prompt, range(start, len(tokens))) if number else Span(None, range(first, len(tokens))))
    return Batch(
        rows=tuple(rows),
        spans=tuple(spans),
        tokens_N=torch.tensor(tokens),
        positions_N=torch.tensor(positions),
        sources_M=torch.tensor(sources),
        targets_M=torch.tensor(targets),
        completions_M=torch.tensor(completions),
        signals=_signals(rows),
    )


def _signals(rows: Sequence[TokenRow]) -> dict[str, Tensor]:
    """All signals, one after another. Raises ValueError if some rows or completions have one that others lack."""
    found = [dict(row.signals) for row in rows], [dict(c.signals) for row in rows for c in row.completions]
    signals: dict[str, Tensor] = {}
    for holders in found:
        for name in holders[0]:
            if any(holder.keys() != holders[0].keys() for holder in holders):
                raise ValueError(f"not all of a micro-batch have the same signals: {name} is one of them")
            values: list[float] = []
            for holder in holders:
                value = holder[name]
                values.extend(value if isinstance(value, tuple) else (value,))
            signals[name] = torch.tensor(values, dtype=torch.float32)
    return signals
