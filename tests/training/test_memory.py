from __future__ import annotations

import pytest
import torch

from ethos.errors import EthosError
from ethos.store.config.training import TrainingConfig
from ethos.training.memory import MemoryPlan, bytes_per_token, plan_memory
from training.character import DEMONSTRATIONS, batches, policy

HEAD = (8.0 * 512 * 300 + 4.0 * 300 * 32) / 2**30  # of the tiny models, in GiB


def config(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"micro_batch_tokens": 4096} | fields)


def gib(made_bytes: float) -> float:
    return made_bytes / 2**30 + HEAD


def test_without_a_budget_the_config_decides() -> None:
    assert plan_memory(policy(), config(), 256) == MemoryPlan(4096, checkpointing=False)


@pytest.mark.parametrize("shape", ["llama", "gpt-neox"])
def test_a_budget_makes_micro_batches_smaller(shape: str) -> None:
    made = policy(shape)
    head = HEAD if made.forward is not None else 0.0
    plain = bytes_per_token(made)
    found = plan_memory(made, config(memory_gib=plain * 1000.5 / 2**30 + head), 256)
    assert found == MemoryPlan(1000, checkpointing=False)


def test_blocks_are_computed_twice_only_if_one_row_doesnt_fit_else() -> None:
    made = policy()
    plain, checkpointed = bytes_per_token(made), bytes_per_token(made, checkpointing=True)
    assert checkpointed < 0.3 * plain
    tight = plan_memory(made, config(memory_gib=gib(255 * plain)), 256)
    assert tight.checkpointing
    assert tight.micro_batch_tokens > 256
    assert not plan_memory(made, config(memory_gib=gib(256.5 * plain)), 256).checkpointing


def test_what_can_not_fit_is_told_with_what_it_takes() -> None:
    with pytest.raises(EthosError, match=r"training\.memory_gib: 0\.0001 GiB .* take 0\.\d+ GiB even if"):
        plan_memory(policy(), config(memory_gib=1e-4), 256)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", ["llama-tied", "qwen2", "qwen3"])
def test_blocks_computed_twice_give_the_very_same_gradients(shape: str, method: str) -> None:
    plain, twice = policy(shape, method), policy(shape, method)
    twice.checkpointing = True
    first = plain.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    second = twice.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    assert first == second
    for name, gradient in plain.optimizer.gradients.items():
        assert torch.equal(gradient, twice.optimizer.gradients[name]), name
