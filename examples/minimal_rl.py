"""Reinforcement learning in one flat loop, with the primitives alone: `python examples/minimal_rl.py [--steps 30]`.

A 135M model learns to add numbers below ten by GRPO (Shao et al. 2024): it answers each sum several times, and what is
right becomes likelier. About 10 s a step on two cores. Left out, and what `ethos run` is for: a spec, other objectives
beside this one, a reference to stay close to, batch records, checkpoints.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from pathlib import Path

from ethos.models.catalogue import resolve
from ethos.models.engine import Engine
from ethos.models.local import fingerprint, local_directory
from ethos.models.types import Sample, SamplingParams
from ethos.models.worker import compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import Lineage, TaskRow
from ethos.training.advantages import group_advantages
from ethos.training.batch import Completion, TokenRow, pack
from ethos.training.objectives.rewards import ADVANTAGE, SAMPLING, Rewards
from ethos.training.optimizer import OptimParams
from ethos.training.policy import load_policy
from ethos.training.reward_functions import right_answer

PROMPTS, DRAWS, MAX_TOKENS = 8, 8, 24  # in a step
ORIGIN = Lineage("minimal_rl", capability_source="examples/minimal_rl.py")
SUMS = [(a, b) for a in range(1, 10) for b in range(1, 10)]
HELD_OUT = SUMS[::4]  # asked before and after, never trained on


def task(a: int, b: int) -> TaskRow:
    """A sum to work out."""
    return TaskRow(Conversation.user(f"How much is {a} + {b}?"), ORIGIN, str(a + b))


async def main(steps: int) -> None:
    """Measures, trains, measures again."""
    entry = resolve("embedded:smollm2-135m", Path.cwd())
    directory = local_directory(entry)
    worker = compute_worker()
    policy = await worker.run(load_policy, directory, TrainingConfig(), system_message=None, seed=0)
    engine = Engine(
        entry.name, fingerprint(entry, directory), policy.loaded, policy.template, worker, forward=policy.forward
    )
    objective, noise = Rewards(ratio_to="trainer"), random.Random(0)
    print(f"right before: {await share_right(engine):.2f}", flush=True)
    for step in range(steps):
        asked = [task(*pair) for pair in noise.sample([pair for pair in SUMS if pair not in HELD_OUT], PROMPTS)]
        groups = await engine.sample_batch(
            [row.prompt for row in asked], SamplingParams(MAX_TOKENS, temperature=1.0, seed=step), range(DRAWS)
        )
        rewards = [right_answer(row, samples) for row, samples in zip(asked, groups, strict=True)]
        rows = [
            trained
            for row, samples, scores in zip(asked, groups, rewards, strict=True)
            if (trained := group_row(row, policy.template.prompt(row.prompt), samples, scores)) is not None
        ]
        batches = pack(rows, limit_tokens=2048)
        metrics = await worker.run(policy.forward_backward, batches, objective, 1.0)
        norm = 0.0
        if metrics.units:  # else the moments would decay over nothing
            norm = await worker.run(policy.optim_step, OptimParams(lr=1e-5))
            await worker.run(engine.weights_changed, f"{engine.fingerprint}+{step}")
        reward = sum(score or 0.0 for scores in rewards for score in scores) / (PROMPTS * DRAWS)
        gap = metrics.metrics.get("sampling_gap", 0.0)
        print(
            f"step {step:2}  reward {reward:.2f}  trained groups {len(rows)}  gradient norm {norm:.2f}"
            f"  sampler and trainer {gap:.3f} apart",
            flush=True,
        )
    print(f"right after: {await share_right(engine):.2f}", flush=True)


def group_row(
    row: TaskRow, prompt: tuple[int, ...], samples: list[Sample], scores: list[float | None]
) -> TokenRow | None:
    """A prompt with its replies and their advantages; None if all were equally good."""
    found = group_advantages([{"right": score} for score in scores], {"right": 1.0}, "grpo", deviation_floor=0.01)
    if not found.spread:
        return None
    completions = [
        Completion(sample.token_ids or (), None, {SAMPLING: sample.logprobs or (), ADVANTAGE: advantage or 0.0})
        for sample, advantage in zip(samples, found.values, strict=True)
    ]
    return TokenRow(row.id, prompt, tuple(completions))


async def share_right(engine: Engine) -> float:
    """Of the sums that are never trained on, answered greedily."""
    asked = [task(*pair) for pair in HELD_OUT]
    params = SamplingParams(MAX_TOKENS, temperature=0.0)
    groups = await engine.sample_batch([row.prompt for row in asked], params)
    scores = [right_answer(row, samples)[0] or 0.0 for row, samples in zip(asked, groups, strict=True)]
    return sum(scores) / len(scores)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    asyncio.run(main(parser.parse_args().steps))
