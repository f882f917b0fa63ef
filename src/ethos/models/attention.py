"""Who sees whom: packed sequences in training, and sequences with a key-value cache in decoding.

Shapes as in `models/architecture.py`; `B` sequences, `T` their longest new part, `S` their longest whole, `G` query
heads that share a key-value head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from ethos.models.causal_attention import causal_attention

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

    def tokens(self, device: torch.device) -> Tensor:
        """Flat indices of the whole sequence."""
        parts = [part for part in (self.shared, self.own) if part is not None]
        return torch.cat([torch.arange(part.start, part.stop, device=device) for part in parts])


class PackedAttention:
    """Causal attention within each of several sequences among flat tokens, and never across them.

    Linear layers run on the flat tokens, where each token is once: one that several sequences begin with, too. Only
    here are sequences laid out side by side and padded, those of about the same length together: the work goes with
    the square of the longest. Padding comes last, so the causal mask alone keeps it from every real token.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        alike = _alike([span.length for span in spans])
        self._groups = [_Padded([spans[i] for i in group], device) for group in alike]
        own = [spans[i].own for group in alike for i in group]
        order_N = torch.cat([torch.arange(part.start, part.stop, device=device) for part in own])
        self._back_N = order_N.argsort()

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Attention of one layer; `layer` is not needed here."""
        outs = [group.attend(query_NHD, key_NKD, value_NKD) for group in self._groups]
        return torch.cat(outs).index_select(0, self._back_N)


def whole_spans(lengths: Sequence[int]) -> list[Span]:
    """Sequences of these lengths, one after another, that share nothing."""
    return [Span(None, range(stop - length, stop)) for length, stop in zip(lengths, accumulate(lengths), strict=True)]


class _Padded:
    """Sequences side by side: where their tokens lie among all, where among the padded, and where those of their own.

    Shapes: `M` tokens of the sequences, shared ones counted in each; `O` their own.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        self._rows, self._longest = len(spans), max(span.length for span in spans)
        self._tokens_M = torch.cat([span.tokens(device) for span in spans])
        starts = [row * self._longest for row in range(self._rows)]
        ends = [start + span.length for start, span in zip(starts, spans, strict=True)]
        places = [torch.arange(start, end, device=device) for start, end in zip(starts, ends, strict=True)]
        self._places_M = torch.cat(places)
        self._own_O = torch.cat([place[-len(span.own) :] for place, span in zip(places, spans, strict=True)])

    def attend(self, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Attention within each sequence; of their own tokens alone, flat and in order: shape [O, H, D]."""
        out_BHTD = causal_attention(*(self._pad(x) for x in (query_NHD, key_NKD, value_NKD)))
        flat = out_BHTD.transpose(1, 2).reshape(self._rows * self._longest, *query_NHD.shape[1:])
        return flat.index_select(0, self._own_O)

    def _pad(self, x_NHD: Tensor) -> Tensor:
        """[N, H, D] to [B, H, T, D]."""
        padded = x_NHD.new_zeros(self._rows * self._longest, *x_NHD.shape[1:])
        padded = padded.index_copy(0, self._places_M, x_NHD.index_select(0, self._tokens_M))
        return padded.view(self._rows, self._longest, *x_NHD.shape[1:]).transpose(1, 2)


def _alike(lengths: list[int]) -> list[list[int]]:
    """Rows in groups, by length: none is padded to more than `_MOST_PADDING` times its own."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
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
        self._cache, self._slots = cache, slots
        self._past, self._lengths = past, lengths
        self._longest = max(lengths)
        self._whole = max(p + n for p, n in zip(past, lengths, strict=True))
        device = cache.keys[0].device
        past_B = torch.tensor(past, device=device)
        reach_BT = past_B[:, None] + torch.arange(self._longest, device=device)
        self._visible_BTS = torch.arange(self._whole, device=device) <= reach_BT[..., None]
        self._visible_B1CS: Tensor | None = None
        rows = [row * self._longest + torch.arange(n) for row, n in enumerate(lengths)]
        self._index_N = torch.cat(rows).to(device)
        self._slots_B = torch.tensor(slots, device=device)

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Writes the new keys and values to the slots, then attends to all that each sequence holds."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        start = 0
        for slot, past, length in zip(self._slots, self._past, self._lengths, strict=True):
            keys[slot, :, past : past + length] = key_NKD[start : start + length].transpose(0, 1)
            values[slot, :, past : past + length] = value_NKD[start : start + length].transpose(0, 1)
            start += length
        rows, kv_heads, width = len(self._slots), *key_NKD.shape[1:]
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
            self._visible_B1CS = every.reshape(len(self._slots), 1, -1, self._whole)
        return self._visible_B1CS


class StepAttention:
    """One new token for each of the sequences in slots 0 to n-1."""

    def __init__(self, cache: KeyValueSlots, lengths: list[int]) -> None:
        self._cache, self._rows = cache, len(lengths)
        device = cache.keys[0].device
        self._lengths_B = torch.tensor(lengths, device=device)
        self._rows_B = torch.arange(self._rows, device=device)
        self._whole = max(lengths) + 1
        hidden = torch.arange(self._whole, device=device) > self._lengths_B[:, None]
        self._mask_B11S = torch.zeros(hidden.shape, dtype=cache.keys[0].dtype, device=device).masked_fill_(
            hidden, -torch.inf
        )[:, None, None]

    def __call__(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> Tensor:
        """Query heads that share a key-value head are laid along the query axis, so that each key is read once."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._rows_B, :, self._lengths_B] = key_NKD
        values[self._rows_B, :, self._lengths_B] = value_NKD
        kv_heads, width = key_NKD.shape[1:]
        out_BKGD = F.scaled_dot_product_attention(
            query_NHD.view(self._rows, kv_heads, -1, width),
            keys[: self._rows, :, : self._whole],
            values[: self._rows, :, : self._whole],
            attn_mask=self._mask_B11S,
        )
        return out_BKGD.reshape(self._rows, -1, width)
