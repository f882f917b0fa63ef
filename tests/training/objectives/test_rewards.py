from __future__ import annotations

import math

import pytest
import torch

from ethos.spec.conversation import Conversation
from ethos.store.rows import TaskRow
from ethos.training.batch import Batch, Completion, TokenRow, pack
from ethos.training.objectives.rewards import Rewards
from ethos.training.outputs import Outputs
from training.character import LINEAGE, policy
from training.objectives.test_preferences import TEMPLATE


def batch_of(advantages: tuple[float, float], old: tuple[float, ...] = (-1.0, -1.0, -1.0)) -> Batch:
    first = Completion(
        (2, 3), None, {"sampling_logprobs": old[:2], "reference_logprobs": (-1.5, -1.5), "advantage": advantages[0]}
    )
    second = Completion(
        (4,), None, {"sampling_logprobs": old[2:], "reference_logprobs": (-1.5,), "advantage": advantages[1]}
    )
    return pack([TokenRow("a", (1,), (first, second))], 100)[0]


NOW = torch.tensor([-0.5, -1.0, -2.0])
RATIOS = [math.exp(0.5), 1.0, math.exp(-1.0)]


def surrogate(ratio: float, advantage: float) -> float:
    return -min(ratio * advantage, min(1.3, max(0.8, ratio)) * advantage)


def test_by_token_each_is_clipped_and_counts_alike() -> None:
    objective, batch = Rewards(clip_high=0.3), batch_of((2.0, -1.0))
    assert (objective.unit, objective.units(batch)) == ("token", 3)
    found = objective.loss(Outputs(NOW), batch)
    expected = sum(surrogate(r, a) for r, a in zip(RATIOS, (2.0, 2.0, -1.0), strict=True))
    assert float(found.total) == pytest.approx(expected)
    assert found.metrics["clipped"].value == pytest.approx(2 / 3)
    assert found.metrics["sampling_gap"].value == pytest.approx(0.5)


def test_by_sequence_each_reply_counts_alike() -> None:
    objective, batch = Rewards(normalise="sequence", clip_high=0.3), batch_of((2.0, -1.0))
    assert (objective.unit, objective.units(batch)) == ("sequence", 2)
    first = (surrogate(RATIOS[0], 2.0) + surrogate(RATIOS[1], 2.0)) / 2
    assert float(objective.loss(Outputs(NOW), batch).total) == pytest.approx(first + surrogate(RATIOS[2], -1.0))


def test_rloo_clips_the_ratio_of_the_whole_reply() -> None:
    objective, batch = Rewards("rloo", clip_high=0.3), batch_of((2.0, -1.0))
    assert (objective.unit, objective.units(batch)) == ("sequence", 2)
    expected = surrogate(math.exp(0.5), 2.0) + surrogate(math.exp(-1.0), -1.0)
    assert float(objective.loss(Outputs(NOW), batch).total) == pytest.approx(expected)


@pytest.mark.parametrize("estimator", ["k3", "unbiased"])
def test_the_kl_is_the_named_estimators(estimator: str) -> None:
    objective = Rewards(clip_high=0.3, kl_coefficient=0.1, kl_estimator=estimator)  # type: ignore[arg-type]
    apart = [-1.5 - now for now in NOW.tolist()]
    k3 = [math.exp(x) - x - 1 for x in apart]
    kl = k3 if estimator == "k3" else [ratio * k for ratio, k in zip(RATIOS, k3, strict=True)]
    without = float(Rewards(clip_high=0.3).loss(Outputs(NOW), batch_of((2.0, -1.0))).total)
    found = objective.loss(Outputs(NOW), batch_of((2.0, -1.0)))
    assert float(found.total) == pytest.approx(without + 0.1 * sum(kl))
    assert found.metrics["kl"].value == pytest.approx(sum(kl) / 3)


def test_the_unbiased_estimators_gradient_is_that_of_the_reverse_kl() -> None:
    """On policy, in expectation over what is drawn: sum over tokens of p × gradient."""
    logits, other = torch.randn(7, generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 1, 7).log_softmax(0)
    exact = logits.clone().requires_grad_()
    logprobs = exact.log_softmax(0)
    (logprobs.exp() * (logprobs - other)).sum().backward()

    drawn = logits.clone().requires_grad_()
    now = drawn.log_softmax(0)
    total = torch.zeros(())
    for token, reference in enumerate(other.tolist()):
        signals = {
            "sampling_logprobs": (float(now[token].detach()),),
            "reference_logprobs": (reference,),
            "advantage": 0.0,
        }
        [batch] = pack([TokenRow("a", (1,), (Completion((token,), None, signals),))], 100)
        loss = Rewards(kl_coefficient=1.0, kl_estimator="unbiased").loss(Outputs(now[token : token + 1]), batch)
        total = total + now[token].exp().detach() * loss.total
    total.backward()
    torch.testing.assert_close(drawn.grad, exact.grad, atol=1e-6, rtol=1e-5)


def test_on_policy_the_gradient_is_reinforces() -> None:
    """Advantage × gradient of log p, whatever the clip bounds: the ratio is 1."""
    made = policy()
    batch = batch_of((2.0, -1.0))
    old = tuple(made.outputs(batch).logprobs_M.tolist())
    on_policy = batch_of((2.0, -1.0), old)
    made.forward_backward([on_policy], Rewards(clip_low=0.01, clip_high=0.01), 1.0)
    other = policy()
    (-(other.outputs(batch).logprobs_M * torch.tensor([2.0, 2.0, -1.0])).sum() / 3).backward()
    other.optimizer.gather()
    for name, gradient in made.optimizer.gradients.items():
        torch.testing.assert_close(gradient, other.optimizer.gradients[name], atol=1e-6, rtol=1e-4)


def test_against_the_trainers_own_the_ratio_is_1_whatever_rounding_the_sampler_had() -> None:
    objective, batch = Rewards("rloo", ratio_to="trainer"), batch_of((2.0, -1.0), (-1.5, -1.5, -2.5))
    now = NOW.clone().requires_grad_()
    found = objective.loss(Outputs(now), batch)
    assert float(found.total.detach()) == pytest.approx(-2.0 + 1.0)
    assert found.metrics["clipped"].value == 0.0
    assert found.metrics["sampling_gap"].value > 0.3
    found.total.backward()
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([-2.0, -2.0, 1.0])


def test_a_prompt_waits_for_its_replies() -> None:
    row = TaskRow(Conversation.user("How much is 2 + 2?"), LINEAGE, answer="4")
    [prompt] = Rewards().prepare([row], TEMPLATE, 100).rows
    assert (prompt.row_id, prompt.prompt, prompt.completions) == (row.id, TEMPLATE.prompt(row.prompt), ())


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Conversation(()), "an empty completion"),
        (Conversation.user("Hi").then("assistant", "Hello"), "a prompt that ends on the assistant's turn"),
        (Conversation.user("x" * 200), "longer than the context"),
    ],
)
def test_what_can_not_be_answered_is_counted(prompt: Conversation, reason: str) -> None:
    found = Rewards().prepare([TaskRow(prompt, LINEAGE)], TEMPLATE, 100)
    assert (found.rows, found.left_out) == ([], {reason: 1})
