from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ethos.errors import EthosError
from ethos.training.batch import pack
from ethos.training.objectives.reward_model import RewardModel
from ethos.training.optimizer import OptimParams
from ethos.training.outputs import Outputs
from training.character import PREFERENCES, policy, token_rows


class Values(Outputs):
    def __init__(self, *values: float) -> None:
        super().__init__(torch.empty(0))
        self._values = torch.tensor(values)

    @property
    def values_C(self) -> torch.Tensor:
        return self._values


@pytest.mark.parametrize(("label", "margin"), [(1.0, 0.0), (1.0, 0.5), (0.7, 0.0), (0.7, 0.5)])
def test_the_loss_is_bradley_terrys(label: float, margin: float) -> None:
    row = token_rows("reward_model")[0]
    batch = pack([type(row)(row.row_id, row.prompt, row.completions, {"label": label, "margin": margin}, True)], 1000)[
        0
    ]
    found = RewardModel().loss(Values(1.5, 0.25), batch)
    right, wrong = (1 / (1 + math.exp(-(apart - margin))) for apart in (1.25, -1.25))  # a margin either way
    assert float(found.total) == pytest.approx(-label * math.log(right) - (1 - label) * math.log(wrong))
    assert found.metrics["accuracy"].value == 1.0
    assert found.metrics["margin"].value == pytest.approx(1.25)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_reward_model_prefers_the_chosen_replies_and_is_loaded_by_transformers(
    method: str, tmp_path: Path
) -> None:
    made, rows = policy("llama-tied", method, scalar_head=True), token_rows("reward_model")
    for _ in range(30):
        metrics = made.forward_backward(pack(rows, 1000), RewardModel(), 1.0).metrics
        made.optim_step(OptimParams(lr=1e-2))
    assert metrics["accuracy"] == 1.0
    made.export_reward_model(tmp_path / "reward_model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward_model", dtype=torch.float32).eval()
    [batch] = pack(rows, 1000)
    with torch.no_grad():
        values = [
            float(loaded(input_ids=torch.tensor([sequence])).logits) for row in rows for sequence in row.sequences
        ]
        own = made.outputs(batch).values_C.tolist()
    assert values == pytest.approx(own, abs=1e-4)
    assert len(values) == 2 * len(PREFERENCES)


def test_a_batch_that_its_tokenizer_has_padded_is_scored_at_the_end_of_each_turn(tmp_path: Path) -> None:
    made, rows = policy("llama-tied", scalar_head=True), token_rows("reward_model")
    made.export_reward_model(tmp_path / "reward_model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward_model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward_model")
    sequences = [{"input_ids": list(sequence)} for row in rows for sequence in row.sequences]
    assert len({len(sequence["input_ids"]) for sequence in sequences}) > 1
    [batch] = pack(rows, 1000)
    with torch.no_grad():
        values = loaded(**tokenizer.pad(sequences, return_tensors="pt")).logits[:, 0].tolist()
        assert values == pytest.approx(made.outputs(batch).values_C.tolist(), abs=1e-4)


def test_a_head_is_asked_for_beforehand() -> None:
    with pytest.raises(EthosError, match="no scalar head"):
        policy().forward_backward(pack(token_rows("reward_model"), 1000), RewardModel(), 1.0)


def test_a_model_of_unknown_shape_can_not_have_one() -> None:
    with pytest.raises(EthosError, match=r"set mixture\.reward_model to 0"):
        policy("gpt-neox", scalar_head=True)
