from __future__ import annotations

import pytest
import torch

from ethos.training.logprobs import target_logprobs


@pytest.mark.parametrize("targets", [1, 511, 512, 513, 1100])
def test_values_and_gradients_are_those_of_log_softmax(targets: int) -> None:
    torch.manual_seed(targets)
    hidden, weight = torch.randn(targets, 16), torch.randn(70, 16)
    wanted, outer = torch.randint(0, 70, (targets,)), torch.randn(targets)
    mine = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    own = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    found = target_logprobs(mine[0], mine[1], wanted)
    expected = (own[0] @ own[1].T).log_softmax(dim=-1).gather(1, wanted[:, None]).squeeze(1)
    torch.testing.assert_close(found, expected)
    (found * outer).sum().backward()
    (expected * outer).sum().backward()
    for a, b in zip(mine, own, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanting", [0, 1])
def test_a_gradient_that_nobody_wants_is_not_computed(wanting: int) -> None:
    inputs = [torch.randn(9, 4), torch.randn(7, 4)]
    inputs[wanting].requires_grad_()
    target_logprobs(inputs[0], inputs[1], torch.zeros(9, dtype=torch.long)).sum().backward()
    assert inputs[wanting].grad is not None
    assert inputs[1 - wanting].grad is None


def test_logprobs_of_bf16_inputs_are_fp32() -> None:
    hidden, weight = torch.randn(9, 4, dtype=torch.bfloat16), torch.randn(7, 4, dtype=torch.bfloat16)
    assert target_logprobs(hidden, weight, torch.zeros(9, dtype=torch.long)).dtype == torch.float32
