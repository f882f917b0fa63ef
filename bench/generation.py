"""Sampling against other engines on the same token ids: `python bench/generation.py [sampling teacher] [--peers vllm]`.

Prints JSON. Every reply runs to its limit at temperature 1, and prefill counts. Peers run one at a time, each in an
environment of its own; rounds alternate with ours, and no prompt comes twice.

- sampling: 64 sequences of SmolLM2-135M, prompts of 64 tokens, 48 new ones, bf16 (llama.cpp: the Q4_1 file).
- teacher: 32 prompts of 50 to 400 tokens for Qwen2.5-Coder-1.5B, 64 new ones, bf16 (llama.cpp: the Q4_K_M file).

`ceiling` is the ratio that the model's matrix products alone would reach, at the rate that they have on this machine:
no bf16 engine on it can be faster. Each round measures them as well.
"""

# ruff: noqa: E402, since the process is set up before torch is imported

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

from ethos.process import tune_process

tune_process()

import torch
from race import Peer, machine, race
from work import Words

from ethos.models.catalogue import resolve
from ethos.models.embedded import EMBEDDED, fetch
from ethos.models.engine import Engine
from ethos.models.loading import Loaded, load
from ethos.models.local import local_directory
from ethos.models.templates import ChatTemplate
from ethos.models.types import SamplingParams
from ethos.models.worker import Worker, compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.cache import cache_directory

BENCHES: dict[str, dict[str, Any]] = {
    "sampling": {
        "model": "embedded:smollm2-135m",
        "prompts": 64,
        "tokens": (64,),
        "new_tokens": 48,
        "rounds": 5,
        "targets": {"hf": 3.0, "llamacpp": 2.5, "vllm": 1.0},
    },
    "teacher": {
        "model": "embedded:qwen2.5-coder-1.5b",
        "prompts": 32,
        "tokens": (50, 120, 240, 400),
        "new_tokens": 64,
        "rounds": 3,
        "targets": {"vllm": 1.3, "llamacpp": 1.0},
    },
}
PEERS: dict[str, dict[str, str]] = {
    "hf": {"environment_name": "trl"},
    "llamacpp": {},
    "vllm": {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "all",
        "VLLM_CPU_KVCACHE_SPACE": "3",
    },
}
PASS_TOKENS = 1024  # of prompts, in a product


def measure(bench: dict[str, Any], peers: list[str]) -> dict[str, Any]:
    """New tokens a second of one bench, against each peer in turn."""
    directory = local_directory(resolve(bench["model"], Path.cwd()))
    worker = compute_worker()

    def load_engine() -> Engine:
        loaded = load(directory)
        endless = Loaded(loaded.model, loaded.tokenizer, frozenset())
        return Engine(bench["model"], "bench", endless, ChatTemplate(loaded.tokenizer, None), worker)

    engine = asyncio.run(worker.run(load_engine))
    found: dict[str, Any] = {"model": bench["model"]}
    for name in peers:
        with Peer(name, **PEERS[name]) as peer:
            found[name] = _against(engine, worker, peer, name, bench, str(directory))
    return found


def _against(
    engine: Engine, worker: Worker, peer: Peer, name: str, bench: dict[str, Any], directory: str
) -> dict[str, Any]:
    frame = len(engine.template.prompt(Conversation.user("")))
    new_tokens, words = bench["new_tokens"], [max(1, tokens - frame) for tokens in bench["tokens"]]
    # seeds of each peer's own: a prompt that the engine has met before is kept, and costs no prefill
    first = 1 + 100 * list(PEERS).index(name)
    texts = {
        n: Words(engine.template.tokenizer, first + 1 + n).prompts(bench["prompts"], words)
        for n in range(-1, bench["rounds"])
    }
    made = {number: [Conversation.user(text) for text in given] for number, given in texts.items()}
    total: int = bench["prompts"] * new_tokens
    ceilings: list[float] = []

    def ours(number: int) -> float:
        params = SamplingParams(new_tokens, temperature=1.0)
        began = time.perf_counter()
        samples = asyncio.run(engine.sample_batch(made[number], params))
        taken = time.perf_counter() - began
        assert sum(len(sample.token_ids or ()) for [sample] in samples) == total
        if number >= 0:
            prompt_tokens = sum(len(engine.template.prompt(prompt)) for prompt in made[number])
            ceilings.append(
                total / asyncio.run(worker.run(bare_products, engine, prompt_tokens, len(made[number]), new_tokens))
            )
        return total / taken

    def theirs(number: int) -> float:
        prompts = [list(engine.template.prompt(prompt)) for prompt in made[number]]
        where = {"gguf": _gguf(bench["model"])} if name == "llamacpp" else {"directory": directory}
        answer = peer.ask(job="generate", prompts=prompts, new_tokens=new_tokens, **where)
        return total / float(answer["seconds"])

    found = race(ours, theirs, bench["rounds"])
    bounds = [bound / rate for bound, rate in zip(ceilings, found.peer, strict=True)]
    return {**found.to_dict("new tokens/s", bench["targets"][name]), "ceiling": round(statistics.median(bounds), 2)}


@torch.no_grad()
def bare_products(engine: Engine, prompt_tokens: int, sequences: int, new_tokens: int) -> float:
    """Seconds that the matrix products take which such a batch can't do without, as the engine multiplies."""
    forward = engine.forward
    assert forward is not None
    width = forward.embedding_VE.shape[1]
    inputs = {"qkv": width, "out": forward.heads * forward.head_width, "gate_up": width, "down": forward.widest // 2}

    def blocks(rows: int) -> None:
        given = {part: torch.randn(rows, size).to(forward.dtype) for part, size in inputs.items()}
        for layer in forward.layers:
            for part, x in given.items():
                getattr(layer, part)(x)

    last = torch.randn(sequences, width).to(forward.dtype)
    began = time.perf_counter()
    for start in range(0, prompt_tokens, PASS_TOKENS):
        blocks(min(PASS_TOKENS, prompt_tokens - start))
    for _ in range(new_tokens - 1):
        blocks(sequences)
    for _ in range(new_tokens):
        forward.head(last)
    return time.perf_counter() - began


def _gguf(model: str) -> str:
    """The file that the model was converted from, fetched again: the conversion doesn't keep it."""
    weights = EMBEDDED[model.removeprefix("embedded:")]
    path = cache_directory() / "bench" / f"{weights.name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        fetch(weights, path)
    return str(path)


def main() -> None:
    """Measures what is asked for, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", choices=(*BENCHES, []), default=[])
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS))
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for name in options.benches or BENCHES:
        peers = [peer for peer in BENCHES[name]["targets"] if options.peers is None or peer in options.peers]
        found[name] = measure(BENCHES[name], peers)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
