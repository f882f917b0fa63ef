"""The engine and the policy on the real 135M model.

bf16 logits of 16 to 32 lie 0.125 apart, so a single token's log-probability may differ by 0.3 between two orders of
rounding; over a reply the mean difference stays below 0.1.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest
import torch

from ethos.models.engine import Engine
from ethos.models.types import Sample, SamplingParams
from ethos.models.worker import compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import pack, single
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy, load_policy

pytestmark = pytest.mark.model

ASKED = [Conversation.user(text) for text in ("Who are you?", "Name three colours of the sea, briefly.")]


def policy_and_engine(
    directory: Path, precision: Literal["fp32", "bf16"], method: Literal["full", "lora"] = "full"
) -> tuple[Policy, Engine]:
    policy = load_policy(directory, TrainingConfig(precision=precision, method=method), None, 0)
    engine = Engine("smollm2", "0" * 64, policy.loaded, policy.template, compute_worker(), forward=policy.forward)
    return policy, engine


def sampled(engine: Engine, temperature: float) -> list[Sample]:
    params = SamplingParams(max_tokens=20, temperature=temperature)
    return [group[0] for group in asyncio.run(engine.sample_batch(ASKED, params))]


def test_greedy_replies_are_those_of_generate(smollm2: Path) -> None:
    policy, engine = policy_and_engine(smollm2, "fp32")
    for asked, sample in zip(ASKED, sampled(engine, 0.0), strict=True):
        prompt = torch.tensor([policy.template.prompt(asked)])
        own = policy.model.generate(prompt, max_new_tokens=20, do_sample=False)[0, prompt.shape[1] :]
        assert sample.token_ids == tuple(own.tolist())


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.3)])
def test_the_samplers_logprobs_are_the_trainers(
    smollm2: Path, precision: Literal["fp32", "bf16"], tolerance: float, method: Literal["full", "lora"]
) -> None:
    """Of a policy that has moved."""
    policy, engine = policy_and_engine(smollm2, precision, method)
    before = [sample.token_ids for sample in sampled(engine, 1.0)]
    taught = [single("taught", policy.template.encode("I am Wren, and the sea is grey. " * 8), 1)]
    for _ in range(2):
        policy.forward_backward(pack(taught, 2048), OBJECTIVES["documents"], 1.0)
        policy.optim_step(OptimParams(lr=2e-2 if method == "lora" else 1e-5))
    asyncio.run(engine.worker.run(engine.weights_changed, "1" * 64))
    samples = sampled(engine, 1.0)
    assert [sample.token_ids for sample in samples] != before
    policy.end_training()
    rows = []
    for asked, sample in zip(ASKED, samples, strict=True):
        prompt = policy.template.prompt(asked)
        rows.append(single(str(len(rows)), (*prompt, *(sample.token_ids or ())), len(prompt)))
    with torch.no_grad():
        found = policy.outputs(pack(rows, 2048)[0]).logprobs_M.tolist()
    expected = [p for sample in samples for p in sample.logprobs or ()]
    assert found == pytest.approx(expected, abs=tolerance)
    differences = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    assert sum(differences) / len(differences) < tolerance / 3
