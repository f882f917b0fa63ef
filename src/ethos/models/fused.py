"""What a block computes element by element, each part with a backward pass of its own.

Recorded operation by operation, these parts take more passes over memory than they need, and keep what follows from
their input. Shapes: `N` flat tokens, `E` model width, `F` feed-forward width, `H` heads, `D` head width; a norm is over
the last dimension, whatever comes before it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ethos.models import kernels


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm (Zhang and Sennrich 2019, eq. 4), in fp32; the weight is applied in the dtype of `x`."""
    if torch.is_grad_enabled():
        result: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
        return result
    return _weighted(x, weight, epsilon)


def rotate(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """Rotary position embedding on half-split channels (Su et al. 2021, as the Llama family lays it out)."""
    if torch.is_grad_enabled():
        result: Tensor = _Rotate.apply(x_NHD, cos_N1D, sin_N1D)  # type: ignore[no-untyped-call]
        return result
    return _rotated(x_NHD, cos_N1D, sin_N1D)


def swiglu(gate_up_NF: Tensor) -> Tensor:
    """SiLU of the first half of the channels, times the second half (Shazeer 2020, eq. 6)."""
    if torch.is_grad_enabled():
        result: Tensor = _SwiGlu.apply(gate_up_NF)  # type: ignore[no-untyped-call]
        return result
    return _gated(gate_up_NF)


def _normed(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Normed in fp32, and what it was multiplied by."""
    whole = x.float()
    scale = whole.square().mean(dim=-1, keepdim=True).add_(epsilon).rsqrt_()
    return whole * scale, scale


def _weighted(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    if kernels.can_take(x, weight):
        return kernels.rms_norm(x, weight, epsilon)
    return _normed(x, epsilon)[0].to(x.dtype) * weight


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return _weighted(x, weight, epsilon)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        if kernels.can_take(x, weight, gradients[0]):
            return *kernels.rms_norm_backward(x, weight, ctx.epsilon, gradients[0]), None
        (normed, scale), gradient = _normed(x, ctx.epsilon), gradients[0].float()
        product = gradient * normed
        by_weight = product.flatten(0, -2).sum(dim=0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        # d/dx of x s w with s = 1 / rms(x): s (g w - n mean(g w n))
        along = (product @ weight.float()).div_(x.shape[-1]).unsqueeze(-1)
        by_x = (gradient * weight).addcmul_(normed, along, value=-1).mul_(scale)
        return by_x.to(x.dtype), by_weight, None


def _rotated(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """(low, high) to (low cos - high sin, high cos + low sin)."""
    if kernels.can_take(x_NHD, cos_N1D, sin_N1D):
        return kernels.rotate(x_NHD, cos_N1D, sin_N1D)
    half = x_NHD.shape[-1] // 2
    out = x_NHD * cos_N1D
    out[..., :half].addcmul_(x_NHD[..., half:], sin_N1D[..., :half], value=-1)
    out[..., half:].addcmul_(x_NHD[..., :half], sin_N1D[..., half:])
    return out


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
        ctx.save_for_backward(cos_N1D, sin_N1D)
        return _rotated(x_NHD, cos_N1D, sin_N1D)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        cos_N1D, sin_N1D = ctx.saved_tensors
        return _rotated(gradients[0], cos_N1D, -sin_N1D), None, None  # back by the same angle


def _gated(gate_up_NF: Tensor) -> Tensor:
    if kernels.can_take(gate_up_NF):
        return kernels.swiglu(gate_up_NF)
    gate_NF, up_NF = gate_up_NF.chunk(2, dim=-1)
    return F.silu(gate_NF).mul_(up_NF)


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up_NF: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up_NF)
        return _gated(gate_up_NF)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        [gate_up_NF] = ctx.saved_tensors
        if kernels.can_take(gate_up_NF, gradients[0]):
            return kernels.swiglu_backward(gate_up_NF, gradients[0])
        gate_NF, up_NF = gate_up_NF.chunk(2, dim=-1)
        found = torch.empty_like(gate_up_NF)
        by_gate_NF, by_up_NF = found.chunk(2, dim=-1)
        torch.mul(gradients[0], F.silu(gate_NF), out=by_up_NF)
        torch.ops.aten.silu_backward.grad_input(gradients[0] * up_NF, gate_NF, grad_input=by_gate_NF)
        return found
