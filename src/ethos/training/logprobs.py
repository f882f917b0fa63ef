"""Log-probabilities of targets from hidden states, in chunks that never hold logits of the whole batch.

The backward pass computes each chunk's logits anew: one more product with the output matrix, in exchange for memory
that doesn't grow with the vocabulary. Shapes: `M` targets, `E` model width, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 512


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor) -> Tensor:
        pieces = []
        for start in range(0, hidden_ME.shape[0], _CHUNK):
            logits = (hidden_ME[start : start + _CHUNK] @ weight_VE.T).float()
            chosen = logits.gather(1, targets_M[start : start + _CHUNK, None]).squeeze(1)
            pieces.append(chosen - logits.logsumexp(dim=-1))
        ctx.save_for_backward(hidden_ME, weight_VE, targets_M)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_ME, weight_VE, targets_M = ctx.saved_tensors
        gradient_M: Tensor = gradients[0]
        hidden_gradient = torch.empty_like(hidden_ME) if ctx.needs_input_grad[0] else None
        wants_weight = ctx.needs_input_grad[1]
        weight_gradient = torch.zeros_like(weight_VE, dtype=torch.float32) if wants_weight else None
        for start in range(0, hidden_ME.shape[0], _CHUNK):
            piece = slice(start, start + _CHUNK)
            # d logprob / d logits = onehot - softmax
            logits_gradient = (hidden_ME[piece] @ weight_VE.T).float().softmax(dim=-1).neg_()
            rows = torch.arange(logits_gradient.shape[0], device=logits_gradient.device)
            logits_gradient[rows, targets_M[piece]] += 1
            logits_gradient = logits_gradient.mul_(gradient_M[piece, None]).to(weight_VE.dtype)
            if hidden_gradient is not None:
                hidden_gradient[piece] = logits_gradient @ weight_VE
            if weight_gradient is not None:
                weight_gradient += logits_gradient.T @ hidden_ME[piece]
        return hidden_gradient, None if weight_gradient is None else weight_gradient.to(weight_VE.dtype), None


def target_logprobs(hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor) -> Tensor:
    """Log p(target) for each row of hidden states, fp32, shape [M]; differentiable in both inputs."""
    result: Tensor = _TargetLogprobs.apply(hidden_ME, weight_VE, targets_M)  # type: ignore[no-untyped-call]
    return result
