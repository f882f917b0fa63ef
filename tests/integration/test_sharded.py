"""Two processes take the step that one would take; what two have saved one can load, and the other way round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from training.character import policy, token_rows
from training.sharded_training import SHAPE
from training.steps import WEIGHTS, every_batch_of, metrics_of

RANKS = Path(__file__).parents[1] / "training" / "sharded_training.py"
TOLERANCE = 2e-5  # relative: gradients are summed in another order


def run(ranks: int, out: Path, method: str, load: Path | None = None) -> list[list[dict[str, Any]]]:
    out.mkdir()
    path = os.pathsep.join(filter(None, [str(RANKS.parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [str(RANKS), str(out), method, *([] if load is None else [str(load)])]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    steps: list[list[dict[str, Any]]] = json.loads((out / "steps.json").read_text())
    return steps


def same(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one.keys() == other.keys()
            for name, value in other.items():
                assert one[name] == (value if isinstance(value, str) else pytest.approx(value, rel=TOLERANCE, abs=1e-6))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_train_as_one_and_share_checkpoints(method: str, tmp_path: Path) -> None:
    made = policy(SHAPE[method], method, scalar_head=True)
    expected = []
    for number in range(6):
        step = [
            metrics_of(name, made.forward_backward(batches, OBJECTIVES[name], WEIGHTS[name]))
            for name, batches in every_batch_of(number).items()
        ]
        expected.append([*step, {"norm": made.optim_step(OptimParams(lr=1e-3, weight_decay=0.01))}])

    two = run(2, tmp_path / "two", method)
    same(two, expected)
    masters = torch.load(tmp_path / "two" / "masters.pt")
    assert masters.keys() == made.optimizer.masters.keys()
    for name, master in made.optimizer.masters.items():
        torch.testing.assert_close(masters[name], master, rtol=1e-3, atol=1e-4)

    refused = json.loads((tmp_path / "two" / "refused.json").read_text())
    assert [said.split("; ")[0] for said in refused] == [
        "the loss of broken is nan",
        f"the loss of broken is nan on rows {token_rows('documents')[1].row_id}",
    ]  # and what was trained after it is as if it had never been

    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "two" / "exported", dtype=torch.float32)
    made.export(tmp_path / "own")
    own = AutoModelForCausalLM.from_pretrained(tmp_path / "own", dtype=torch.float32)
    tokens = torch.arange(5, 40)[None]
    torch.testing.assert_close(exported(input_ids=tokens).logits, own(input_ids=tokens).logits, atol=1e-2, rtol=1e-2)

    one_of_two = run(1, tmp_path / "one_of_two", method, tmp_path / "two" / "checkpoint")
    same(one_of_two, two[3:])
    one = run(1, tmp_path / "one", method)
    same(one, expected)
    same(run(2, tmp_path / "two_of_one", method, tmp_path / "one" / "checkpoint"), one[3:])
