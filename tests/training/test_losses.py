"""Loss curves as fixtures: a change that should not alter numerics gives the identical losses.

To write them anew after a change that should: `ETHOS_WRITE_LOSSES=1 pytest tests/training/test_losses.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from training.character import DEMONSTRATIONS, DOCUMENTS, batches, policy
from training.steps import WEIGHTS, every_batch_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "losses"
BUILD = f"# torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, 1 thread"


def curve(shape: str, method: str) -> list[str]:
    made = policy(shape, method)
    lines = []
    for step in range(10):
        documents = made.forward_backward(batches("documents"), DOCUMENTS, 0.25).loss
        demonstrations = made.forward_backward(batches("demonstrations", 100), DEMONSTRATIONS, 1.0).loss
        norm = made.optim_step(OptimParams(lr=1e-2 * (1 - step / 10), weight_decay=0.01))
        lines.append(f"{documents!r} {demonstrations!r} {norm!r}")
    return lines


def curve_of_all(shape: str) -> list[str]:
    """All objectives in each step."""
    made = policy(shape, scalar_head=True)
    lines = []
    for step in range(5):
        losses = [
            made.forward_backward(batches, OBJECTIVES[name], WEIGHTS[name]).loss
            for name, batches in every_batch_of(step).items()
        ]
        norm = made.optim_step(OptimParams(lr=1e-2 * (1 - step / 10), weight_decay=0.01))
        lines.append(" ".join(map(repr, [*losses, norm])))
    return lines


CURVES = {
    "llama-full": ("documents demonstrations", lambda: curve("llama", "full")),
    "qwen2-full": ("documents demonstrations", lambda: curve("qwen2", "full")),
    "llama-tied-lora": ("documents demonstrations", lambda: curve("llama-tied", "lora")),
    "qwen2-all": (" ".join(WEIGHTS), lambda: curve_of_all("qwen2")),
}


@pytest.mark.parametrize("name", CURVES)
def test_losses_and_norms_are_exactly_those_on_file(name: str) -> None:
    path, (columns, made) = FIXTURES / f"{name}.txt", CURVES[name]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        lines = made()
    finally:
        torch.set_num_threads(threads)
    if os.environ.get("ETHOS_WRITE_LOSSES"):
        path.write_text("\n".join([BUILD, f"# {columns} gradient_norm", *lines, ""]))
    build, _, *expected = path.read_text().splitlines()
    if build != BUILD:
        pytest.skip(f"the file was written with {build[2:]}; here it is {BUILD[2:]}")
    assert lines == expected
