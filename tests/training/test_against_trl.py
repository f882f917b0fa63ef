"""TRL's SFTTrainer as the oracle: the same tokens and the same mask give the same loss and the same gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models import tiny
from training.character import DEMONSTRATIONS, batches, policy, token_rows


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
def test_loss_and_gradients_are_those_of_trls_sft_trainer(shape: str, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = token_rows("demonstrations")
    labels = [[-100] * row.target_start + list(row.tokens[row.target_start :]) for row in rows]
    dataset = Dataset.from_dict({"input_ids": [list(row.tokens) for row in rows], "labels": labels})
    options = SFTConfig(
        str(tmp_path),
        per_device_train_batch_size=len(rows),
        max_length=None,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    model = tiny.model(shape).requires_grad_(True)
    trainer = SFTTrainer(model, options, train_dataset=dataset, processing_class=tiny.tokenizer())
    batch = next(iter(trainer.get_train_dataloader()))
    assert int((batch["labels"] != -100).sum()) == sum(row.targets for row in rows)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()

    made = policy(shape)
    ours = made.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    assert ours.loss == pytest.approx(float(theirs.detach()), rel=1e-5)
    layers, found = trainer.model.model.layers, made.optimizer.gradients
    expected = {
        "embedding": trainer.model.model.embed_tokens.weight.grad,
        "head": trainer.model.lm_head.weight.grad,
        "final_norm": trainer.model.model.norm.weight.grad,
    }
    for i, layer in enumerate(layers):
        attention, feed_forward = layer.self_attn, layer.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        expected[f"layers.{i}.qkv"] = torch.cat([part.weight.grad for part in parts])
        if parts[0].bias is not None:
            expected[f"layers.{i}.qkv.bias"] = torch.cat([part.bias.grad for part in parts])
        expected[f"layers.{i}.out"] = attention.o_proj.weight.grad
        expected[f"layers.{i}.gate_up"] = torch.cat(
            [feed_forward.gate_proj.weight.grad, feed_forward.up_proj.weight.grad]
        )
        expected[f"layers.{i}.down"] = feed_forward.down_proj.weight.grad
        expected[f"layers.{i}.norm_before_attention"] = layer.input_layernorm.weight.grad
        expected[f"layers.{i}.norm_before_feed_forward"] = layer.post_attention_layernorm.weight.grad
    assert set(expected) == set(found)
    for name, gradient in expected.items():
        error = float((found[name] - gradient).norm() / gradient.norm())
        assert error < 1e-5, name
