from __future__ import annotations

import gc
import weakref

import pytest
import torch

from ethos.errors import EthosError
from ethos.training.optimizer import MasterOptimizer, OptimParams

PARAMS = OptimParams(lr=1e-2, weight_decay=0.1, clip=1e9)


def pair(dtype: torch.dtype = torch.float32) -> tuple[dict[str, torch.Tensor], MasterOptimizer]:
    torch.manual_seed(0)
    compute = {"a": torch.randn(5, 4).to(dtype), "b": torch.randn(4).to(dtype)}
    return compute, MasterOptimizer(compute)


def pull(compute: dict[str, torch.Tensor], scale: float = 1.0) -> None:
    (scale * ((compute["a"].float() @ compute["b"].float()) ** 2).sum()).backward()


def test_steps_are_those_of_torchs_adamw_whose_decay_is_that_of_matrices() -> None:
    compute, optimizer = pair()
    own = {name: tensor.detach().clone().requires_grad_() for name, tensor in compute.items()}
    groups = [{"params": [own["a"]]}, {"params": [own["b"]], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=1e-2, betas=PARAMS.betas, eps=PARAMS.eps, weight_decay=0.1)
    for _ in range(5):
        pull(compute)
        optimizer.step(PARAMS)
        pull(own)
        adamw.step()
        adamw.zero_grad()
    for name, tensor in compute.items():
        torch.testing.assert_close(tensor, own[name], atol=1e-6, rtol=1e-6)


def test_a_tensor_that_no_gradient_has_reached_stays_as_it_is() -> None:
    """No weight decay, and no moments of earlier steps."""
    compute, optimizer = pair()
    pull(compute)
    optimizer.step(PARAMS)
    before, moved = compute["b"].clone(), compute["a"].clone()
    compute["a"].square().sum().backward()
    optimizer.step(PARAMS)
    assert torch.equal(compute["b"], before)
    assert not torch.equal(compute["a"], moved)


def test_gradients_of_several_passes_add_up_in_fp32() -> None:
    compute, optimizer = pair(torch.bfloat16)
    pull(compute)
    optimizer.gather()
    once, once_b = (optimizer.gradients[name].clone() for name in ("a", "b"))
    pull(compute)
    pull(compute)
    assert optimizer.gather() == pytest.approx(2 * float(torch.cat([once.flatten(), once_b]).norm()))
    assert once.dtype == torch.float32
    torch.testing.assert_close(optimizer.gradients["a"], 3 * once)
    assert compute["a"].grad is None


def test_a_step_too_small_for_bf16_is_kept_in_the_masters() -> None:
    compute, optimizer = pair(torch.bfloat16)
    before = optimizer.masters["a"].clone()
    for _ in range(3):
        pull(compute)
        optimizer.step(OptimParams(lr=1e-6, clip=1e9))
    moved = (optimizer.masters["a"] - before).abs().max()
    assert 0 < float(moved) < 1e-5
    assert torch.equal(compute["a"].detach(), optimizer.masters["a"].bfloat16())


def test_the_gradient_is_clipped_as_a_whole_and_its_norm_is_from_before() -> None:
    compute, optimizer = pair()
    clipped, other = pair()
    pull(compute)
    norm = optimizer.gather()
    pull(clipped, 0.5 / norm)
    other.gather()
    expected = other.gradients["a"].clone()
    optimizer.clear()
    pull(compute)
    assert optimizer.step(OptimParams(lr=0.0, clip=0.5)) == pytest.approx(norm)
    momentum = optimizer.state()["exp_avg.a"]
    torch.testing.assert_close(momentum, (1 - 0.9) * expected, atol=1e-5, rtol=1e-4)


def test_after_a_step_the_gradients_are_empty() -> None:
    compute, optimizer = pair()
    pull(compute)
    optimizer.step(PARAMS)
    assert optimizer.gradient_norm() == 0.0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing(broken: float) -> None:
    compute, optimizer = pair()
    before = {name: tensor.detach().clone() for name, tensor in compute.items()}
    pull(compute)
    (compute["a"][0, 0] * broken).backward()
    optimizer.gather()
    with pytest.raises(EthosError, match="gradient's norm is"):
        optimizer.step(PARAMS)
    assert optimizer.gradient_norm() == 0.0
    assert all(torch.equal(tensor.detach(), before[name]) for name, tensor in compute.items())


def test_a_restored_state_goes_on_bit_for_bit_and_a_fresh_one_has_no_moments() -> None:
    compute, optimizer = pair()
    fresh = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    pull(compute)
    optimizer.step(PARAMS)
    kept = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    pull(compute)
    optimizer.step(PARAMS)
    second = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    other, restored = pair()
    restored.load_state(kept)
    pull(other)
    restored.step(PARAMS)
    assert all(torch.equal(tensor, second[name]) for name, tensor in restored.state().items())
    restored.load_state(fresh)
    assert set(restored.state()) == {"master.a", "master.b"}


def test_a_release_leaves_the_weights_and_nothing_else() -> None:
    compute, optimizer = pair()
    pull(compute)
    optimizer.step(OptimParams(lr=0.1))
    weights = {name: tensor.detach().clone() for name, tensor in compute.items()}
    optimizer.release()
    assert optimizer.state() == {}
    assert not any(tensor.requires_grad for tensor in compute.values())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in compute.items())


def test_what_is_released_is_out_of_the_way_of_the_next_optimizer() -> None:
    compute, first = pair()
    first.release()
    second = MasterOptimizer(compute)
    pull(compute)
    second.step(PARAMS)
    assert first.state() == {}
    assert len(second.state()) == 8


def test_nothing_keeps_a_model_and_its_optimizer_once_their_owner_lets_them_go() -> None:
    compute, optimizer = pair()
    pull(compute)
    optimizer.step(PARAMS)
    gone = [weakref.ref(optimizer), *map(weakref.ref, compute.values())]
    del compute, optimizer
    gc.collect()
    assert not any(reference() for reference in gone)
