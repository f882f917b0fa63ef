"""How much of the machine's bf16 matrix rate a dense training step reaches: `python bench/dense.py`. Prints JSON.

SmolLM2-135M, four rows of 512 tokens, all of them targets, forward and backward: 6 × parameters floating-point
operations a token, attention not counted. The matrix rate is that of the fastest of some large products, measured in
the same round. The peer is the Hugging Face model's own forward and loss, in bf16 as well.
"""

# ruff: noqa: E402, since the process is set up before torch is imported

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ethos.process import tune_process

tune_process()

import torch
from race import machine

from ethos.models.catalogue import resolve
from ethos.models.local import local_directory
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import pack, single
from ethos.training.objectives import OBJECTIVES
from ethos.training.policy import load_policy

MODEL = "embedded:smollm2-135m"
ROWS, TOKENS, ROUNDS = 4, 512, 5
TARGET = 0.45


def main() -> None:
    """Measures and prints."""
    from transformers import AutoModelForCausalLM

    directory = local_directory(resolve(MODEL, Path.cwd()))
    policy = load_policy(directory, TrainingConfig(precision="bf16"), None, 0)
    parameters = sum(tensor.numel() for tensor in policy.optimizer.masters.values())
    ids = [[5 + (row * 31 + place * 7919) % 20000 for place in range(TOKENS)] for row in range(ROWS)]
    batches = pack([single(str(row), tokens, 1) for row, tokens in enumerate(ids)], ROWS * TOKENS)
    peer: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).train()
    inputs = torch.tensor(ids)

    def ours() -> None:
        policy.forward_backward(batches, OBJECTIVES["documents"], 1.0)
        policy.optimizer.clear()

    def theirs() -> None:
        peer(input_ids=inputs, labels=inputs).loss.backward()
        peer.zero_grad()

    work = 6.0 * parameters * ROWS * TOKENS
    shares: dict[str, list[float]] = {"ours": [], "peer": []}
    rates: list[float] = []
    for number in range(-1, ROUNDS):
        rate = matrix_rate()
        found = {"ours": work / seconds(ours) / rate, "peer": work / seconds(theirs) / rate}
        print(f"round {number}: {rate / 1e9:.0f} GFLOP/s, {found}", file=sys.stderr, flush=True)
        if number >= 0:
            rates.append(rate)
            for name, share in found.items():
                shares[name].append(share)
    medians = {name: round(statistics.median(values), 3) for name, values in shares.items()}
    told: dict[str, Any] = {
        "unit": "share of the bf16 matrix rate",
        **medians,
        "matrix_gflops": round(statistics.median(rates) / 1e9),
        "ratio": round(medians["ours"] / medians["peer"], 2),
        "target": f"a share of {TARGET}",
        "reached": medians["ours"] >= TARGET,
    }
    print(json.dumps({"machine": machine(), "peer": "transformers", "dense": told}, indent=1))


def matrix_rate() -> float:
    """Operations a second of the fastest of three large bf16 products."""
    best = 0.0
    for size in (1024, 2048, 4096):
        a, b = (torch.randn(size, size).to(torch.bfloat16) for _ in range(2))
        a @ b
        for _ in range(4):
            best = max(best, 2.0 * size**3 / seconds(lambda a=a, b=b: a @ b))  # type: ignore[misc]
    return best


def seconds(job: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
