"""The engine against plain `transformers` on the same weights, in the same process: prints JSON.

    python bench/engine.py [embedded:smollm2-135m …]

Threads, dtype and prompts are the same for both, and each run takes one after the other: a minute or two on idle cores.
Figures are medians of three runs after one that warms up, ratios are medians of the runs' own. Decoding goes on for 32
tokens at temperature 1, with top_p where it says so, and counts prefill in; the peer is `generate`. A training step is
on eight packed rows of uneven length; the peer's rows are padded, and it steps on the weights themselves where the
policy keeps fp32 masters. `profile` says where the engine's seconds go, of 64 prompts of 64 tokens with 48 new ones.
"""

# ruff: noqa: E402, since the process is set up before torch is imported

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ethos.process import tune_process

tune_process()

import torch

from ethos.models import architecture, attention, decoding
from ethos.models.catalogue import resolve
from ethos.models.engine import Engine
from ethos.models.loading import Loaded, compute_dtype, load
from ethos.models.local import local_directory
from ethos.models.sampling import choose
from ethos.models.templates import ChatTemplate
from ethos.models.types import SamplingParams
from ethos.models.worker import Worker, compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import TokenRow, pack, single
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.policy import load_policy

RUNS = 3
BATCHES = (1, 16, 64)
PROMPT_WORDS, NEW_TOKENS, WARM_UP_TOKENS = 40, 32, 4
PREFILL_PROMPTS, PREFILL_WORDS = 8, 200
ROW_TOKENS = range(48, 176, 16)  # of a training step
TOP_P = 0.95
LEARNING_RATE = 1e-5
_WORDS = "anchor bakery candle desert engine forest garden harbour island jacket kettle ladder market needle orchard"


@dataclass
class Clock:
    """Seconds spent in a function, which is called as before."""

    seconds: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            self.seconds += time.perf_counter() - began
            return result

        return timed


@dataclass
class Race:
    """What the engine and its peer took for the same tokens, run by run."""

    engine: list[float] = field(default_factory=list)  # tokens a second
    peer: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        ratios = [mine / other for mine, other in zip(self.engine, self.peer, strict=True)]
        return {
            "tokens_per_s": round(statistics.median(self.engine), 1),
            "peer_tokens_per_s": round(statistics.median(self.peer), 1),
            "ratio": round(statistics.median(ratios), 2),
        }


def main() -> None:
    """Measures one model after the other, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["embedded:smollm2-135m"])
    found = [asyncio.run(measure(name)) for name in parser.parse_args().models]
    print(json.dumps(found, indent=1))


async def measure(name: str) -> dict[str, Any]:
    """All figures of one model."""
    directory = local_directory(resolve(name, Path.cwd()))
    worker = compute_worker()
    engine = await worker.run(_engine, name, directory, worker)
    peer = await worker.run(_plain, directory)
    decoding = {str(size): await _race_decoding(engine, peer, size) for size in BATCHES}
    decoding["64, top_p"] = await _race_decoding(engine, peer, 64, TOP_P)
    prefill = await _race_prefill(engine, peer)
    profile = await _profile(engine)
    del engine, peer
    return {
        "benchmark": "engine",
        "model": name,
        "machine": platform.processor() or platform.machine(),
        "threads": worker.threads,
        "dtype": str(compute_dtype()).removeprefix("torch."),
        "runs": RUNS,
        "decoding": decoding,
        "prefill": prefill,
        "profile": profile,
        "training": await worker.run(_race_training, directory),
    }


def _engine(name: str, directory: Path, worker: Worker) -> Engine:
    loaded = load(directory)
    endless = Loaded(loaded.model, loaded.tokenizer, frozenset())  # every reply runs to its limit
    return Engine(name, "bench", endless, ChatTemplate(loaded.tokenizer, None), worker)


async def _race_decoding(engine: Engine, peer: Any, size: int, top_p: float = 1.0) -> dict[str, Any]:
    """Tokens a second of replies to different prompts, and the share of the engine's time in which tokens are drawn."""
    race, shares = Race(), []
    for run in range(RUNS + 1):
        tokens = NEW_TOKENS if run else WARM_UP_TOKENS
        prompts = _prompts(size, PROMPT_WORDS, f"{run}/{size}/{top_p}")
        clock = Clock()
        with patch.object(decoding, "choose", clock.around(choose)):
            engine_s = await _sample_s(engine, prompts, tokens, top_p)
        peer_s = await _generate_s(engine, peer, prompts, tokens, top_p)
        if run:
            race.engine.append(size * tokens / engine_s)
            race.peer.append(size * tokens / peer_s)
            shares.append(clock.seconds / engine_s)
    return {**race.to_dict(), "sampling_share": round(statistics.median(shares), 3)}


async def _race_prefill(engine: Engine, peer: Any) -> dict[str, Any]:
    """Tokens of prompts a second, up to the first token of the reply."""
    race = Race()
    for run in range(RUNS + 1):
        prompts = _prompts(PREFILL_PROMPTS, PREFILL_WORDS, f"{run}/prefill")
        tokens = sum(len(engine.template.prompt(prompt)) for prompt in prompts)
        engine_s, peer_s = await _sample_s(engine, prompts, 1), await _generate_s(engine, peer, prompts, 1)
        if run:
            race.engine.append(tokens / engine_s)
            race.peer.append(tokens / peer_s)
    return race.to_dict()


_PARTS = {
    "products": (architecture.Projection, "__call__"),
    "output matrix": (architecture.CausalForward, "logits"),
    "attention of prompts": (attention.ExtendAttention, "__call__"),
    "attention of a step": (attention.StepAttention, "__call__"),
    "norms": (architecture, "rms_norm"),
    "rotary embedding": (architecture, "rotate"),
    "gates": (architecture, "swiglu"),
    "drawing": (decoding, "choose"),
}


async def _profile(engine: Engine) -> dict[str, float]:
    """Seconds in each part of one round, the whole of it, and the share of prefill."""
    clocks = {name: Clock() for name in (*_PARTS, "prefill")}
    with ExitStack() as stack:
        for name, (owner, attribute) in {**_PARTS, "prefill": (decoding.Decoding, "_prefill")}.items():
            stack.enter_context(patch.object(owner, attribute, clocks[name].around(getattr(owner, attribute))))
        for run in range(2):
            for clock in clocks.values():
                clock.seconds = 0.0
            prompts = _prompts(64, 64 - len(engine.template.prompt(Conversation.user(""))), f"{run}/profile")
            seconds = await _sample_s(engine, prompts, 48)
    clocks["products"].seconds -= clocks["output matrix"].seconds
    return {"whole": round(seconds, 2)} | {name: round(clock.seconds, 2) for name, clock in clocks.items()}


async def _sample_s(engine: Engine, prompts: Sequence[Conversation], tokens: int, top_p: float = 1.0) -> float:
    began = time.perf_counter()
    samples = await engine.sample_batch(prompts, SamplingParams(max_tokens=tokens, top_p=top_p))
    seconds = time.perf_counter() - began
    assert all(len(sample.token_ids or ()) == tokens for [sample] in samples)
    return seconds


async def _generate_s(
    engine: Engine, peer: Any, prompts: Sequence[Conversation], tokens: int, top_p: float = 1.0
) -> float:
    rows = [torch.tensor(engine.template.prompt(prompt)) for prompt in prompts]
    inputs, mask = _padded(rows, "left")

    def generate() -> float:
        began = time.perf_counter()
        out = peer.generate(inputs, attention_mask=mask, max_new_tokens=tokens, do_sample=True, top_k=0, top_p=top_p)
        seconds = time.perf_counter() - began
        assert out.shape == (len(prompts), inputs.shape[1] + tokens)
        return seconds

    return await engine.worker.run(generate)


def _race_training(directory: Path) -> dict[str, Any]:
    """Tokens of rows a second, of a whole step: forward, backward, clipping, AdamW."""
    policy = load_policy(directory, TrainingConfig(), None, 0)
    noise = random.Random(0)
    vocabulary = policy.model.config.vocab_size
    rows = [single(str(length), [noise.randrange(vocabulary) for _ in range(length)], 1) for length in ROW_TOKENS]
    objective = OBJECTIVES["documents"]

    def step() -> None:
        policy.forward_backward(pack(rows, limit_tokens=2048), objective, 1.0)
        policy.optim_step(OptimParams(lr=LEARNING_RATE))

    plain_step = _plain_step(directory, rows)
    race, tokens = Race(), sum(ROW_TOKENS)
    for run in range(RUNS + 1):
        speeds = [tokens / _seconds(step), tokens / _seconds(plain_step)]
        if run:
            race.engine.append(speeds[0])
            race.peer.append(speeds[1])
    return race.to_dict()


def _plain_step(directory: Path, rows: Sequence[TokenRow]) -> Callable[[], None]:
    """A step as one writes it with `transformers` and torch alone."""
    model = _plain(directory).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    inputs, mask = _padded([torch.tensor(row.sequences[0]) for row in rows], "right")
    labels = inputs.masked_fill(mask == 0, -100)

    def step() -> None:
        model(input_ids=inputs, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _plain(directory: Path) -> Any:
    """The model as `transformers` loads it, which never ends a reply by itself."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=compute_dtype(), local_files_only=True).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def _padded(rows: Sequence[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, shape [B, T]."""
    tokens = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_side=side)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in rows], batch_first=True, padding_side=side)
    return tokens, mask


def _prompts(count: int, words: int, seed: str) -> list[Conversation]:
    """Different ones for each seed, so that no prefix is kept from an earlier race."""
    noise = random.Random(seed)
    return [Conversation.user(" ".join(noise.choices(_WORDS.split(), k=words))) for _ in range(count)]


def _seconds(job: Callable[[], None]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
