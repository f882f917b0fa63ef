"""Causal attention over padded sequences, with a backward pass of our own where the built-in one is slow.

PyTorch's flash backward for CPUs walks each pair of sequence and head in blocks meant for long rows: twelve rows of 100
tokens took it 26 ms a layer, and the same formulas as batched matrix products 6 ms. From a few hundred tokens on the
blocks win. Shapes: `B` sequences, `H` query heads, `K` key-value heads, `G` = H / K, `T` tokens, `D` head width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT_TOKENS = 256
"""Rows up to this length take the batched products; measured: 0.6 of flash's time at 200 tokens, twice it at 512."""


class _ShortCausalAttention(torch.autograd.Function):
    """Flash attention's equations (Dao et al. 2022, appendix B.4), the scores recomputed whole instead of in blocks."""

    @staticmethod
    def forward(ctx: Any, query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
        groups = query_BHTD.shape[1] // key_BKTD.shape[1]
        key_BHTD, value_BHTD = (x.repeat_interleave(groups, dim=1) for x in (key_BKTD, value_BKTD))
        out: Tensor
        out, logsumexp_BHT = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query_BHTD, key_BHTD, value_BHTD, 0.0, True
        )
        ctx.save_for_backward(query_BHTD, key_BKTD, value_BKTD, out, logsumexp_BHT)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor]:
        query_BHTD, key_BKTD, value_BKTD, out_BHTD, logsumexp_BHT = ctx.saved_tensors
        sequences, heads, tokens, width = query_BHTD.shape
        kv_heads = key_BKTD.shape[1]
        # the queries of heads that share a key lie one after another, so that one product sums over them
        shared = (sequences, kv_heads, heads // kv_heads * tokens)
        query, out, gradient = (x.reshape(*shared, width) for x in (query_BHTD, out_BHTD, gradients[0]))
        scale = width**-0.5
        # scores and their gradients are differences of large numbers: fp32
        probabilities = (query.float() @ key_BKTD.float().mT).mul_(scale).sub_(logsumexp_BHT.reshape(*shared, 1)).exp_()
        probabilities.view(sequences, heads, tokens, tokens).tril_()
        value_gradient = probabilities.to(query.dtype).mT @ gradient
        delta = (gradient.float() * out.float()).sum(dim=-1, keepdim=True)
        scores_gradient = (gradient.float() @ value_BKTD.float().mT).sub_(delta).mul_(probabilities).mul_(scale)
        scores_gradient = scores_gradient.to(query.dtype)
        query_gradient = (scores_gradient @ key_BKTD).view_as(query_BHTD)
        return query_gradient, scores_gradient.mT @ query, value_gradient


def causal_attention(query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
    """Each token attends to itself and what comes before it; shape [B, H, T, D]."""
    wants_gradient = torch.is_grad_enabled() and query_BHTD.requires_grad
    if wants_gradient and query_BHTD.device.type == "cpu" and query_BHTD.shape[2] <= SHORT_TOKENS:
        out: Tensor = _ShortCausalAttention.apply(query_BHTD, key_BKTD, value_BKTD)  # type: ignore[no-untyped-call]
        return out
    groups = query_BHTD.shape[1] // key_BKTD.shape[1]
    if groups > 1:
        key_BKTD, value_BKTD = (x.repeat_interleave(groups, dim=1) for x in (key_BKTD, value_BKTD))
    return F.scaled_dot_product_attention(query_BHTD, key_BKTD, value_BKTD, is_causal=True)
