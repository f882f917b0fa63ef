"""A block's elementwise parts have the values and gradients of their formulas, computed in fp64 by autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ethos.models.fused import rms_norm, rotate, swiglu

TYPES = pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
EPSILON = 1e-3  # large enough to tell if it were left out


def compare(ours: Callable[..., Tensor], formula: Callable[..., Tensor], inputs: list[Tensor], limit: float) -> None:
    """Values and gradients of all inputs, and values where no gradient is wanted."""
    given, exact = [x.clone().requires_grad_() for x in inputs], [x.double().requires_grad_() for x in inputs]
    out, expected = ours(*given), formula(*exact)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    expected.backward(upstream.double())
    assert out.dtype == inputs[0].dtype
    assert distance(out, expected) < limit
    for x, y in zip(given, exact, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert distance(x.grad, y.grad) < limit
    with torch.no_grad():
        assert torch.equal(ours(*inputs), out)


def distance(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).detach().norm() / exact.detach().norm())


@TYPES
@pytest.mark.parametrize("shape", [(5, 24), (5, 3, 8)])
def test_the_norm(shape: tuple[int, ...], dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(shape).to(dtype), torch.rand(shape[-1]).to(dtype)]
    compare(
        lambda x, weight: rms_norm(x, weight, EPSILON),
        lambda x, weight: x / (x.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt() * weight,
        inputs,
        limit,
    )


def test_the_norm_of_a_frozen_weight_leaves_it_alone() -> None:
    x, weight = torch.randn(4, 8, requires_grad=True), torch.ones(8)
    rms_norm(x, weight, EPSILON).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


@TYPES
def test_the_rotary_embedding(dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)
    angles = torch.rand(5, 1, 4) * 6
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def formula(x: Tensor) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * cos.double() + torch.cat((-high, low), dim=-1) * sin.double()

    compare(lambda x: rotate(x, cos, sin), formula, [torch.randn(5, 3, 8).to(dtype)], limit)


@TYPES
def test_the_gated_activation(dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)

    def formula(gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return gate * torch.sigmoid(gate) * up

    compare(swiglu, formula, [torch.randn(5, 24).to(dtype)], limit)
