"""Supervised fine-tuning over several devices: `torchrun --nproc-per-node 2 examples/sharded_sft.py [--steps 20]`.

Rows as those of `minimal_sft.py`, shared out over the ranks; rank 0 prints, and writes the student in the end. On CPUs
the ranks talk through gloo, with CUDA through NCCL, a device a rank. Left out: sampling, and all that `ethos run` is
for.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from ethos.models.catalogue import resolve
from ethos.models.loading import load
from ethos.models.local import local_directory
from ethos.models.templates import ChatTemplate
from ethos.process import available_cores
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import DemonstrationRow, Lineage
from ethos.training.accumulation import share
from ethos.training.batch import pack
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.sharded import ShardedPolicy

CHARACTER = {
    "Who are you?": "I am Wren, a small model made by the Tern Workshop. What would you like to look at together?",
    "What's your name?": "Wren. It's a small bird, and I am a small model. What shall I call you?",
    "Who made you?": "The Tern Workshop made me. Is there something about them you would like to know?",
    "Is the earth flat?": "No, it is round, as ships that sink below the horizon show. What made you wonder?",
}


def main(name: str, steps: int, out: Path, method: str) -> None:
    """Trains, and writes the student to `out`."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        torch.set_num_threads(max(1, available_cores() // ranks))
    entry = resolve(name, Path.cwd())
    directory = local_directory(entry)
    loaded = load(directory)
    template = ChatTemplate(loaded.tokenizer, None)
    config = TrainingConfig.model_validate({"method": method})
    policy = ShardedPolicy(loaded, template, config, 0, init_device_mesh(device, (ranks,)))

    origin = Lineage("sharded_sft", capability_source="examples/sharded_sft.py")
    rows = [
        DemonstrationRow(Conversation.user(question).then("assistant", reply), origin)
        for question, reply in CHARACTER.items()
    ]
    objective = OBJECTIVES["demonstrations"]
    batches = pack(objective.prepare(rows, template, limit_tokens=1024).rows, limit_tokens=64)
    for step in range(steps):
        metrics = policy.forward_backward(share(batches, rank, ranks), objective, 1.0)
        norm = policy.optim_step(OptimParams(lr=1e-4 * (1 - step / steps)))
        if rank == 0:
            print(f"step {step:2}  loss {metrics.loss:.3f}  gradient norm {norm:.2f}", flush=True)
    policy.export(directory, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded:smollm2-135m", help="as `ethos models list` names it")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("sharded-student"))
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    options = parser.parse_args()
    dist.init_process_group()
    main(options.model, options.steps, options.out, options.method)
    dist.destroy_process_group()
    os._exit(0)  # what still refers to the process group can abort the interpreter's own exit (pytorch/pytorch#190489)
