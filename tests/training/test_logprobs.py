from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ethos.training.logprobs import Direction, TeacherStates, divergences, summed, target_logprobs

SIZES = [1, 511, 512, 513, 1100]  # around a chunk's


def inputs(targets: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(targets)
    return torch.randn(targets, 16), torch.randn(70, 16), torch.randint(0, 70, (targets,)), torch.randn(targets)


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def textbook(hidden: Tensor, weight: Tensor, wanted: Tensor) -> Tensor:
    return (hidden @ weight.T).log_softmax(dim=-1).gather(1, wanted[:, None]).squeeze(1)


def same_gradients(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("targets", SIZES)
def test_values_and_gradients_are_those_of_log_softmax(targets: int) -> None:
    hidden, weight, wanted, outer = inputs(targets)
    mine, own = leaves(hidden, weight), leaves(hidden, weight)
    found, expected = target_logprobs(*mine, wanted), textbook(*own, wanted)
    torch.testing.assert_close(found, expected)
    (found * outer).sum().backward()
    (expected * outer).sum().backward()
    same_gradients(mine, own)


@pytest.mark.parametrize("targets", SIZES)
def test_a_sum_of_terms_has_the_textbooks_value_and_gradients(targets: int) -> None:
    hidden, weight, wanted, outer = inputs(targets)
    mine, own = leaves(hidden, weight), leaves(hidden, weight)
    found, logprobs = summed(*mine, wanted, lambda given, piece: outer[piece] * (given + given.exp()))
    exact = textbook(*own, wanted)
    expected = (outer * (exact + exact.exp())).sum()
    torch.testing.assert_close(logprobs, exact.detach())
    assert not logprobs.requires_grad
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)
    (found * 0.3).backward()
    (expected * 0.3).backward()
    same_gradients(mine, own)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("targets", SIZES)
def test_divergences_and_their_gradients_are_the_textbooks(targets: int, direction: Direction) -> None:
    hidden, weight, _, outer = inputs(targets)
    teacher = TeacherStates(torch.randn(targets, 8), torch.randn(75, 8))  # another width, and a larger padding
    mine, own = leaves(hidden, weight), leaves(hidden, weight)
    found = divergences(*mine, teacher, direction)
    student = (own[0] @ own[1].T).log_softmax(dim=-1)
    taught = (teacher.hidden_MA @ teacher.weight_VA[:70].T).log_softmax(dim=-1)
    first, second = (student, taught) if direction == "reverse" else (taught, student)
    expected = (first.exp() * (first - second)).sum(dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert float(found.detach().min()) > 0
    (found * outer).sum().backward()
    (expected * outer).sum().backward()
    same_gradients(mine, own)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_a_policy_does_not_diverge_from_itself(direction: Direction) -> None:
    hidden, weight, _, _ = inputs(9)
    mine = leaves(hidden, weight)
    found = divergences(*mine, TeacherStates(hidden, weight), direction)
    assert torch.equal(found, torch.zeros(9))
    found.sum().backward()
    assert all(float(leaf.grad.abs().max()) < 1e-6 for leaf in mine if leaf.grad is not None)


@pytest.mark.parametrize("wanting", [0, 1])
@pytest.mark.parametrize("is_summed", [False, True])
def test_a_gradient_that_nobody_wants_is_not_computed(wanting: int, is_summed: bool) -> None:
    given = [torch.randn(9, 4), torch.randn(7, 4)]
    given[wanting].requires_grad_()
    targets = torch.zeros(9, dtype=torch.long)
    logprobs = target_logprobs(*given, targets)
    total = summed(*given, targets, lambda given, piece: given)[0] if is_summed else logprobs.sum()
    total.backward()
    assert given[wanting].grad is not None
    assert given[1 - wanting].grad is None


def test_logprobs_of_bf16_inputs_are_fp32_and_a_targets_own_logit_is_not_rounded() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(200, 64, dtype=torch.bfloat16) * 3, torch.randn(50, 64, dtype=torch.bfloat16)
    wanted = torch.randint(0, 50, (200,))
    found = target_logprobs(hidden, weight, wanted)
    assert found.dtype == torch.float32
    exact = (hidden.double() * weight[wanted].double()).sum(dim=-1)
    normaliser = (hidden @ weight.T).float().logsumexp(dim=-1)
    torch.testing.assert_close(found, (exact - normaliser).float(), atol=1e-4, rtol=1e-5)
