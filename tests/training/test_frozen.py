from __future__ import annotations

import pytest
import torch

from ethos.models.architecture import CausalForward
from ethos.training.batch import Completion, TokenRow, pack
from ethos.training.frozen import FrozenModel, with_signal
from models import tiny
from training.character import policy

ROWS = [
    TokenRow("a", (1, 2, 3), (Completion((4, 5, 6), (True, False, True)), Completion((7, 8)))),
    TokenRow("b", (9, 10), (Completion((11, 12, 13, 14)),)),
]


@pytest.mark.parametrize("shape", ["llama", "gpt-neox"])
@pytest.mark.parametrize("limit", [1, 100])
def test_a_reference_gives_a_number_for_each_target(shape: str, limit: int) -> None:
    model = tiny.model(shape)
    found = FrozenModel(model, CausalForward(model) if shape == "llama" else None).logprobs(ROWS, limit)
    assert [[len(c) for c in row] for row in found] == [[2, 2], [4]]
    with torch.no_grad():
        logprobs = tiny.model(shape)(input_ids=torch.tensor([[1, 2, 3, 4, 5, 6]])).logits[0].log_softmax(dim=-1)
    assert found[0][0] == pytest.approx([float(logprobs[2, 4]), float(logprobs[4, 6])], abs=1e-4)


def test_a_policy_that_has_not_moved_is_at_its_reference_to_the_bit() -> None:
    model = tiny.model()
    reference = FrozenModel(model, CausalForward(model)).logprobs(ROWS, 100)
    now = policy().outputs(pack(ROWS, 100)[0]).logprobs_M.tolist()
    assert [p for row in reference for c in row for p in c] == now


def test_a_signal_joins_those_that_are_there() -> None:
    row = with_signal(with_signal(ROWS[0], "old", ((0.1, 0.2), (0.3, 0.4))), "gain", (1.0, 2.0))
    assert [dict(c.signals) for c in row.completions] == [
        {"old": (0.1, 0.2), "gain": 1.0},
        {"old": (0.3, 0.4), "gain": 2.0},
    ]
    assert row.completions[0].mask == (True, False, True)
