"""Causal attention over padded sequences, of our own where the built-in one is slow.

PyTorch's flash attention for CPUs walks each pair of sequence and head alone, in products that are small. Here they are
products over all pairs, a block of queries at a time against the keys that it sees: faster on CPUs without AMX, forward
and backward, up to about a thousand tokens a row, and slower past that.

Shapes: `B` sequences, `H` query heads, `K` key-value heads, `G` query heads that share a key-value head, `T` tokens,
`D` head width; `P` pairs of a sequence and a key-value head; in a block, `Q` queries of all heads of a pair, and `S`
keys. Queries may be fewer than keys: those of the last tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT_TOKENS = 1024
"""Rows up to this length take the products over all pairs."""
_BLOCK = 64  # queries of a head; larger blocks compute more of what is masked, smaller ones have dearer products


class _ShortCausalAttention(torch.autograd.Function):
    """Only inputs and output are kept; probabilities are computed again (Dao et al. 2022, section 3.1)."""

    @staticmethod
    def forward(ctx: Any, query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
        out_BHTD = _attend(query_BHTD, key_BKTD, value_BKTD)
        ctx.save_for_backward(query_BHTD, key_BKTD, value_BKTD, out_BHTD)
        return out_BHTD

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Dao et al. 2022, appendix B.2, equations 3 to 6: `delta` is their D, a row's gradient times its output."""
        query_BHTD, key_BKTD, value_BKTD, out_BHTD = ctx.saved_tensors
        query_PGTD, gradient_PGTD, out_PGTD = (_pairs(x, key_BKTD) for x in (query_BHTD, gradients[0], out_BHTD))
        key_PTD, value_PTD = key_BKTD.flatten(0, 1), value_BKTD.flatten(0, 1)
        scale = query_BHTD.shape[-1] ** -0.5
        # scores and their gradients are differences of large numbers: fp32
        wide_key_PTD, wide_value_PTD = key_PTD.float(), value_PTD.float()
        delta_PGT1 = (gradient_PGTD.float() * out_PGTD.float()).sum(dim=-1, keepdim=True)
        by_query_PGTD = torch.empty_like(query_PGTD, memory_format=torch.contiguous_format)
        by_key_PTD, by_value_PTD = torch.zeros_like(wide_key_PTD), torch.zeros_like(wide_value_PTD)
        for own, seen in _blocks(query_BHTD.shape[2], key_BKTD.shape[2]):
            query_PQD, gradient_PQD, delta_PQ1 = (
                x[:, :, own].flatten(1, 2) for x in (query_PGTD, gradient_PGTD, delta_PGT1)
            )
            probabilities_PQS = _probabilities(query_PQD, wide_key_PTD[:, seen], own.stop - own.start)
            by_value_PTD[:, seen] += probabilities_PQS.to(query_PQD.dtype).mT @ gradient_PQD
            by_scores_PQS = (gradient_PQD.float() @ wide_value_PTD[:, seen].mT).sub_(delta_PQ1).mul_(probabilities_PQS)
            by_scores_PQS = by_scores_PQS.to(query_PQD.dtype)
            by_query_PGTD[:, :, own] = (by_scores_PQS @ key_PTD[:, seen]).mul_(scale).view_as(query_PGTD[:, :, own])
            by_key_PTD[:, seen] += by_scores_PQS.mT @ query_PQD
        return (
            by_query_PGTD.view_as(query_BHTD),
            by_key_PTD.mul_(scale).to(key_BKTD.dtype).view_as(key_BKTD),
            by_value_PTD.to(value_BKTD.dtype).view_as(value_BKTD),
        )


def _attend(query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
    query_PGTD = _pairs(query_BHTD, key_BKTD)
    key_PTD, value_PTD = key_BKTD.flatten(0, 1).float(), value_BKTD.flatten(0, 1)
    out_PGTD = torch.empty_like(query_PGTD, memory_format=torch.contiguous_format)
    for own, seen in _blocks(query_BHTD.shape[2], key_BKTD.shape[2]):
        queries = own.stop - own.start
        probabilities_PQS = _probabilities(query_PGTD[:, :, own].flatten(1, 2), key_PTD[:, seen], queries)
        found_PQD = probabilities_PQS.to(value_PTD.dtype) @ value_PTD[:, seen]
        out_PGTD[:, :, own] = found_PQD.view_as(out_PGTD[:, :, own])
    return out_PGTD.view(query_BHTD.shape)


def _probabilities(query_PQD: Tensor, key_PSD: Tensor, queries: int) -> Tensor:
    """Of each of a block's queries over the keys that it sees, the last of which are the block's own; fp32."""
    scores_PQS: Tensor = (query_PQD.float() * query_PQD.shape[-1] ** -0.5) @ key_PSD.mT
    later = torch.full((queries, queries), -torch.inf, device=scores_PQS.device).triu_(1)
    scores_PQS.unflatten(1, (-1, queries))[..., -queries:].add_(later)
    return scores_PQS.softmax(dim=-1)


def _pairs(x_BHTD: Tensor, key_BKTD: Tensor) -> Tensor:
    """Query heads by the key-value head that they share, shape [P, G, T, D]."""
    paired: Tensor = x_BHTD.unflatten(1, (key_BKTD.shape[1], -1)).flatten(0, 1)
    return paired


def _blocks(queries: int, keys: int) -> list[tuple[slice, slice]]:
    """Of queries, all of about one size, and the keys that they see."""
    size = -(-queries // -(-queries // _BLOCK))
    bounds = [(start, min(queries, start + size)) for start in range(0, queries, size)]
    return [(slice(start, stop), slice(keys - queries + stop)) for start, stop in bounds]


def is_by_products(device: torch.device, tokens: int) -> bool:
    """Whether rows of that length take the products over all pairs, for which there may be fewer queries than keys."""
    return device.type == "cpu" and tokens <= SHORT_TOKENS


def causal_attention(query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
    """Each token attends to itself and what comes before it; shape [B, H, T, D]."""
    if is_by_products(query_BHTD.device, key_BKTD.shape[2]):
        if not torch.is_grad_enabled():
            return _attend(query_BHTD, key_BKTD, value_BKTD)
        out: Tensor = _ShortCausalAttention.apply(query_BHTD, key_BKTD, value_BKTD)  # type: ignore[no-untyped-call]
        return out
    assert query_BHTD.shape[2] == key_BKTD.shape[2], "the built-in attention has as many queries as keys"
    groups = query_BHTD.shape[1] // key_BKTD.shape[1]
    if groups > 1:
        key_BKTD, value_BKTD = (x.repeat_interleave(groups, dim=1) for x in (key_BKTD, value_BKTD))
    return F.scaled_dot_product_attention(query_BHTD, key_BKTD, value_BKTD, is_causal=True)
