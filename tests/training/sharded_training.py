"""What each rank of `integration/test_sharded.py` runs: mixed steps, a checkpoint, more; rank 0 writes what came out.

torchrun --nproc-per-node 2 sharded_training.py OUT METHOD [LOAD]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from ethos.models.templates import ChatTemplate
from ethos.training.accumulation import share
from ethos.training.batch import Batch
from ethos.training.guard import Diverged
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.types import Loss
from ethos.training.optimizer import OptimParams
from ethos.training.outputs import Outputs
from ethos.training.sharded import ShardedPolicy
from models import tiny
from training.character import config
from training.steps import WEIGHTS, every_batch_of, metrics_of

SHAPE = {"full": "llama", "lora": "llama-tied"}


def step(policy: ShardedPolicy, number: int) -> list[dict[str, Any]]:
    """All objectives, then the optimizer."""
    found = []
    for name, batches in every_batch_of(number).items():
        given = share(batches, dist.get_rank(), dist.get_world_size())
        found.append(metrics_of(name, policy.forward_backward(given, OBJECTIVES[name], WEIGHTS[name])))
    found.append({"norm": policy.optim_step(OptimParams(lr=1e-3, weight_decay=0.01))})
    return found


class _NotFinite:
    """An objective that gives the second micro-batch, which the last of two ranks computes, no finite loss."""

    name, unit = "broken", "token"

    def __init__(self, row_ids: tuple[str, ...]) -> None:
        self._row_ids, self._inner = row_ids, OBJECTIVES["documents"]
        self.units = self._inner.units

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        loss = self._inner.loss(outputs, batch)
        return Loss(loss.total * float("nan")) if batch.row_ids == self._row_ids else loss


def refused(policy: ShardedPolicy) -> list[str]:
    """What each rank says of it; no gradient may stay."""
    batches = every_batch_of(0)["documents"]
    given = share(batches, dist.get_rank(), dist.get_world_size())
    try:
        policy.forward_backward(given, _NotFinite(batches[1].row_ids), 1.0)
        said = "nothing"
    except Diverged as error:
        said = str(error)
    everybody: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(everybody, said)
    return everybody


def main(out: Path, method: str, load: Path | None) -> None:
    """Trains; from `load` on if it is given."""
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    loaded = tiny.loaded(SHAPE[method])
    template = ChatTemplate(loaded.tokenizer, None)
    policy = ShardedPolicy(loaded, template, config(method=method), 0, mesh, scalar_head=True)
    if load is None:
        steps = [step(policy, number) for number in range(3)]
        policy.save(out / "checkpoint", {"cursor": 7})
    else:
        assert policy.load(load) == {"cursor": 7}
        steps = []
    said = refused(policy)
    steps += [step(policy, number) for number in range(3, 6)]
    masters = policy.whole_masters()
    if dist.get_rank() == 0:
        tiny.model(SHAPE[method]).save_pretrained(out / "source")
        loaded.tokenizer.save_pretrained(out / "source")
    policy.export(out / "source", out / "exported")
    if dist.get_rank() == 0:
        (out / "steps.json").write_text(json.dumps(steps))
        (out / "refused.json").write_text(json.dumps(said))
        torch.save(masters, out / "masters.pt")


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # what still refers to the process group can abort the interpreter's own exit (pytorch/pytorch#190489)
