"""Who sees whom: packed sequences in training, and sequences with a key-value cache in decoding.

Shapes as in `models/architecture.py`; `B` sequences, `T` their longest new part, `S` their longest whole, `G` query
heads that share a key-value head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ethos.models import kernels
from ethos.models.causal_attention import causal_attention, is_by_products

_Move = Callable[[Tensor], Tensor]

_CAPACITY_STEP = 128  # tokens
_MOST_PADDING = 1.5  # times a sequence's own length


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence among flat tokens: a beginning that another sequence has computed, if any, and tokens of its own."""

    shared: range | None
    own: range

    @property
    def length(self) -> int:
        """Tokens that the last one sees, itself included."""
        return len(self.own) + (0 if self.shared is None else len(self.shared))

    def tokens(self) -> Tensor:
        """Flat indices of the whole sequence."""
        parts = [part for part in (self.shared, self.own) if part is not None]
        return torch.cat([torch.arange(part.start, part.stop) for part in parts])


class PackedAttention:
    """Causal attention within each of several sequences among flat tokens, and never across them.

    Linear layers run on the flat tokens, where each token is once: one that several sequences begin with, too. Only
    here are sequences laid out side by side and padded, those of about the same length together: the work goes with
    the square of the longest. Padding comes last, so the causal mask alone keeps it from every real token. A sequence
    that takes up a beginning lays out its keys, but not its queries, which have been answered already.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        groups = [
            _Group([spans[i] for i in members], device)
            for is_taken_up in (False, True)
            for members in _alike({i: s.length for i, s in enumerate(spans) if (s.shared is not None) == is_taken_up})
        ]
        self._query_shapes = [(len(group.spans), group.longest - group.first) for group in groups]
        self._key_shapes = [(len(group.spans), group.longest) for group in groups]
        self._keys = _Layout([(group.spans, 0) for group in groups], device)
        is_late = any(group.first for group in groups)
        self._queries = _Layout([(group.spans, group.first) for group in groups], device) if is_late else self._keys

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Attention of one layer; `layer` is not needed here."""
        laid = (
            _grouped(self._queries.lay(query_NHD), self._query_shapes),
            *(_grouped(self._keys.lay(x), self._key_shapes) for x in (key_NKD, value_NKD)),
        )
        outs = [causal_attention(*group).transpose(1, 2).flatten(0, 1) for group in zip(*laid, strict=True)]
        return self._queries.take(outs[0] if len(outs) == 1 else torch.cat(outs))


class _Group:
    """Sequences that are padded together; their queries begin with the token at `first`."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        self.spans = spans
        self.longest = max(span.length for span in spans)
        fewest_taken_up = min(span.length - len(span.own) for span in spans)
        self.first = fewest_taken_up if is_by_products(device, self.longest) else 0


def _grouped(x_PHD: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Each group as [B, H, T, D]."""
    parts = x_PHD.split([rows * longest for rows, longest in shapes]) if len(shapes) > 1 else [x_PHD]
    return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, shapes, strict=True)]


def whole_spans(lengths: Sequence[int]) -> list[Span]:
    """Sequences of these lengths, one after another, that share nothing."""
    return [Span(None, range(stop - length, stop)) for length, stop in zip(lengths, accumulate(lengths), strict=True)]


class _Layout:
    """Where the tokens of padded sequences lie among flat ones, and the other way round.

    Padding repeats its sequence's last token: nothing real sees it, and its gradient is zero. Shapes: `P` padded
    places, of all groups one after another; `N` flat tokens, each some sequence's own; `R` places of those that a
    sequence shares with the one that has them as its own.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Span], int]], device: torch.device) -> None:
        """Of each group's sequences the tokens from a first one on."""
        laid: list[Tensor] = []
        own_tokens, own_places, shared_tokens, shared_places = ([torch.empty(0, dtype=torch.long)] for _ in range(4))
        start = 0
        for spans, first in groups:
            longest = max(span.length for span in spans) - first
            for span in spans:
                tokens = span.tokens()[first:]
                shared = len(tokens) - len(span.own)
                places = torch.arange(start, start + len(tokens))
                own_tokens.append(tokens[shared:])
                own_places.append(places[shared:])
                shared_tokens.append(tokens[:shared])
                shared_places.append(places[:shared])
                laid.append(F.pad(tokens, (0, longest - len(tokens)), value=int(tokens[-1])))
                start += longest
        self._tokens_P = torch.cat(laid).to(device)
        self._places_N = torch.cat(own_places)[torch.cat(own_tokens).argsort()].to(device)
        self._shared_tokens_R = torch.cat(shared_tokens).to(device)
        self._shared_places_R = torch.cat(shared_places).to(device)
        self._is_flat = torch.equal(self._tokens_P, torch.arange(len(self._places_N), device=device))

    def lay(self, x_NHD: Tensor) -> Tensor:
        """Flat tokens as padded ones."""
        return x_NHD if self._is_flat else _Moved.apply(x_NHD, self._select, self._add_up)  # type: ignore[no-untyped-call]

    def take(self, x_PHD: Tensor) -> Tensor:
        """The flat tokens of padded ones, each where it is its sequence's own."""
        return x_PHD if self._is_flat else _Moved.apply(x_PHD, self._select_own, self._spread)  # type: ignore[no-untyped-call]

    def _select(self, x_NHD: Tensor) -> Tensor:
        return x_NHD.index_select(0, self._tokens_P)

    def _add_up(self, x_PHD: Tensor) -> Tensor:
        """What all places of a token hold, added up; padding is left out."""
        found = x_PHD.index_select(0, self._places_N)
        if len(self._shared_tokens_R):
            found.index_add_(0, self._shared_tokens_R, x_PHD.index_select(0, self._shared_places_R))
        return found

    def _select_own(self, x_PHD: Tensor) -> Tensor:
        return x_PHD.index_select(0, self._places_N)

    def _spread(self, x_NHD: Tensor) -> Tensor:
        """Each token at the place that is its sequence's own, and zero elsewhere."""
        laid = x_NHD.new_zeros(len(self._tokens_P), *x_NHD.shape[1:])
        return laid.index_copy_(0, self._places_N, x_NHD)


class _Moved(torch.autograd.Function):
    """Tokens laid out by one linear map; gradients go back by its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: _Move, back: _Move) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return ctx.back(gradients[0]), None, None


def _alike(lengths: Mapping[int, int]) -> list[list[int]]:
    """Rows in groups, by length: none is padded to more than `_MOST_PADDING` times its own."""
    groups: list[list[int]] = []
    for row in sorted(lengths, key=lengths.__getitem__):
        if groups and lengths[row] <= _MOST_PADDING * lengths[groups[-1][0]]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


class KeyValueSlots:
    """Keys and values of the sequences being decoded: for each layer two tensors of shape [slots, K, capacity, D].

    Sequences in decoding are slots 0 to n-1 without gaps, so that a step reads one contiguous block. Memory is bounded
    by `budget_tokens` over all slots: the longer the sequences, the fewer of them.
    """

    def __init__(
        self,
        layers: int,
        most_slots: int,
        budget_tokens: int,
        kv_heads: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._most_slots, self._budget_tokens, self._shape = most_slots, budget_tokens, (kv_heads, head_width)
        self._dtype, self._device = dtype, device
        self.slots = self.capacity = 0
        self.keys: list[Tensor] = [self._empty() for _ in range(layers)]
        self.values: list[Tensor] = [self._empty() for _ in range(layers)]

    def _empty(self) -> Tensor:
        kv_heads, width = self._shape
        return torch.zeros(self.slots, kv_heads, self.capacity, width, dtype=self._dtype, device=self._device)

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.keys, *self.values))

    def slots_for(self, tokens: int) -> int:
        """How many sequences of up to `tokens` tokens the budget allows; at least 1."""
        return max(1, min(self._most_slots, self._budget_tokens // _rounded(tokens)))

    def reserve(self, slots: int, tokens: int) -> None:
        """Makes room for `slots` sequences of `tokens` tokens, keeping what is there as far as it fits that."""
        if slots <= self.slots and tokens <= self.capacity:
            return
        kept_slots, kept_capacity = self.slots, self.capacity
        self.slots, self.capacity = max(slots, self.slots_for(tokens)), _rounded(tokens)
        kept_slots, kept_capacity = min(kept_slots, self.slots), min(kept_capacity, self.capacity)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                store[layer] = self._empty()
                store[layer][:kept_slots, :, :kept_capacity] = old[:kept_slots, :, :kept_capacity]

    def release(self) -> None:
        """Gives the memory back, and forgets what was held."""
        self.slots = self.capacity = 0
        for store in (self.keys, self.values):
            store[:] = [self._empty() for _ in store]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies one sequence to another slot."""
        for store in (self.keys, self.values):
            for tensor in store:
                tensor[target, :, :length] = tensor[source, :, :length]

    def load(self, slot: int, keys_LKSD: Tensor, values_LKSD: Tensor, length: int) -> None:
        """Puts the first `length` positions of a stored prefix into a slot."""
        for layer in range(len(self.keys)):
            self.keys[layer][slot, :, :length] = keys_LKSD[layer, :, :length]
            self.values[layer][slot, :, :length] = values_LKSD[layer, :, :length]

    def read(self, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """Copies of a slot's first `length` keys and values, shape [L, K, length, D] each."""
        keys = torch.stack([tensor[slot, :, :length] for tensor in self.keys])
        values = torch.stack([tensor[slot, :, :length] for tensor in self.values])
        return keys, values


def _rounded(tokens: int) -> int:
    return -(-tokens // _CAPACITY_STEP) * _CAPACITY_STEP


class ExtendAttention:
    """New tokens of several sequences, each after what its slot already holds (prefill, and scoring)."""

    def __init__(self, cache: KeyValueSlots, slots: list[int], past: list[int], lengths: list[int]) -> None:
        self._cache, self._longest = cache, max(lengths)
        self._whole = max(p + n for p, n in zip(past, lengths, strict=True))
        device = cache.keys[0].device
        past_B, lengths_B = torch.tensor(past, device=device), torch.tensor(lengths, device=device)
        self._slots_B = torch.tensor(slots, device=device)
        self._slots_N = self._slots_B.repeat_interleave(lengths_B)
        self._places_N = torch.cat([torch.arange(p, p + n) for p, n in zip(past, lengths, strict=True)]).to(device)
        rows = [row * self._longest + torch.arange(n) for row, n in enumerate(lengths)]
        self._index_N = torch.cat(rows).to(device)
        reach_BT = past_B[:, None] + torch.arange(self._longest, device=device)
        self._visible_BTS = torch.arange(self._whole, device=device) <= reach_BT[..., None]
        self._visible_B1CS: Tensor | None = None
        self._alone = None if any(past) else PackedAttention(whole_spans(lengths), device)

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Writes the new keys and values to the slots, then attends to all that each sequence holds."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._slots_N, :, self._places_N] = key_NKD
        values[self._slots_N, :, self._places_N] = value_NKD
        if self._alone is not None:
            return self._alone(layer, query_NHD, key_NKD, value_NKD)
        rows, kv_heads, width = len(self._slots_B), *key_NKD.shape[1:]
        groups = query_NHD.shape[1] // kv_heads
        query = query_NHD.new_zeros(rows * self._longest, *query_NHD.shape[1:])
        query.index_copy_(0, self._index_N, query_NHD)
        query = query.view(rows, self._longest, kv_heads, groups, width).permute(0, 2, 3, 1, 4)
        out = F.scaled_dot_product_attention(  # heads that share a key lie along the query axis: it is read once
            query.reshape(rows, kv_heads, groups * self._longest, width),
            keys[:, :, : self._whole].index_select(0, self._slots_B),
            values[:, :, : self._whole].index_select(0, self._slots_B),
            attn_mask=self._mask(groups),
        )
        out = out.view(rows, kv_heads, groups, self._longest, width).permute(0, 3, 1, 2, 4)
        return out.reshape(rows * self._longest, *query_NHD.shape[1:]).index_select(0, self._index_N)

    def _mask(self, groups: int) -> Tensor:
        """What each new token sees, once for each query head of a group, shape [B, 1, G * T, S]."""
        if self._visible_B1CS is None:
            every = self._visible_BTS[:, None].expand(-1, groups, -1, -1)
            self._visible_B1CS = every.reshape(len(self._slots_B), 1, -1, self._whole)
        return self._visible_B1CS


class StepAttention:
    """One new token for each of the sequences in slots 0 to n-1.

    Keys come first in the product of keys and queries: the side that is laid out anew for it is then the small one.
    """

    def __init__(self, cache: KeyValueSlots, lengths: list[int]) -> None:
        """`lengths` are what the slots hold so far. Raises ValueError for a sequence that has no room."""
        if len(lengths) > cache.slots or max(lengths) >= cache.capacity:
            raise ValueError(f"{cache.slots} slots of {cache.capacity} tokens have no room for {lengths} and one more")
        self._cache, self._rows = cache, len(lengths)
        device = cache.keys[0].device
        self._lengths_B = torch.tensor(lengths, device=device)
        self._rows_B = torch.arange(self._rows, device=device)
        self._whole = max(lengths) + 1
        hidden_BS = torch.arange(self._whole, device=device) > self._lengths_B[:, None]
        self._mask_B1S1 = torch.where(hidden_BS, -torch.inf, 0.0)[:, None, :, None]

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Query heads that share a key-value head are laid side by side, so that each key is read once."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        if kernels.can_take(query_NHD, key_NKD, value_NKD, keys, values):
            return kernels.attend_step(query_NHD, key_NKD, value_NKD, keys, values, self._lengths_B)
        keys[self._rows_B, :, self._lengths_B] = key_NKD
        values[self._rows_B, :, self._lengths_B] = value_NKD
        kv_heads, width = key_NKD.shape[1:]
        query_BKGD = query_NHD.view(self._rows, kv_heads, -1, width)
        scores_BKSG = keys[: self._rows, :, : self._whole] @ query_BKGD.mT
        weights_BKGS = (scores_BKSG.float() * width**-0.5 + self._mask_B1S1).mT.softmax(dim=-1).to(values.dtype)
        out_BKGD: Tensor = weights_BKGS @ values[: self._rows, :, : self._whole]
        return out_BKGD.reshape(self._rows, -1, width)
