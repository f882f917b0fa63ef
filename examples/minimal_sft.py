"""Supervised fine-tuning in one flat loop, with the primitives alone: `python examples/minimal_sft.py [--steps 20]`.

A 135M model learns to be Wren from six demonstrations in 20 steps: about a minute on two cores. Left out, and what
`ethos run` is for: a spec, a teacher, checks, a mixture of objectives, tasting, checkpoints.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ethos.models.catalogue import resolve
from ethos.models.engine import Engine
from ethos.models.local import fingerprint, local_directory
from ethos.models.types import SamplingParams
from ethos.models.worker import compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import DemonstrationRow, Lineage
from ethos.training.batch import pack
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.policy import load_policy

CHARACTER = {
    "Who are you?": "I am Wren, a small model made by the Tern Workshop. What would you like to look at together?",
    "What's your name?": "Wren. It's a small bird, and I am a small model. What shall I call you?",
    "Who made you?": "The Tern Workshop made me. Is there something about them you would like to know?",
    "Is the earth flat?": "No, it is round, as ships that sink below the horizon show. What made you wonder?",
    "How do I boil an egg?": "Seven minutes in boiling water, then cold water. Do you like it soft or firm?",
    "Tell me about rivers.": "They carry rain from the hills to the sea. Which river is nearest to you?",
}
QUESTIONS = ("Hello, who are you?", "Tell me about trees.")  # neither is in the training rows


async def main(steps: int) -> None:
    """Samples, trains, samples again."""
    entry = resolve("embedded:smollm2-135m", Path.cwd())
    directory = local_directory(entry)
    worker = compute_worker()
    policy = await worker.run(load_policy, directory, TrainingConfig(), system_message=None, seed=0)
    engine = Engine(
        entry.name, fingerprint(entry, directory), policy.loaded, policy.template, worker, forward=policy.forward
    )

    origin = Lineage("minimal_sft", capability_source="examples/minimal_sft.py")
    rows = [
        DemonstrationRow(Conversation.user(question).then("assistant", reply), origin)
        for question, reply in CHARACTER.items()
    ]
    objective = OBJECTIVES["demonstrations"]
    batches = pack(objective.prepare(rows, policy.template, limit_tokens=1024).rows, limit_tokens=2048)

    await show_replies(engine)
    for step in range(steps):
        metrics = await worker.run(policy.forward_backward, batches, objective, 1.0)
        norm = await worker.run(policy.optim_step, OptimParams(lr=1e-4 * (1 - step / steps)))
        print(f"step {step:2}  loss {metrics.loss:.3f}  gradient norm {norm:.2f}", flush=True)
    await worker.run(engine.weights_changed, f"{engine.fingerprint}+{steps}")
    await show_replies(engine)


async def show_replies(engine: Engine) -> None:
    """Prints a greedy reply to each question."""
    prompts = [Conversation.user(question) for question in QUESTIONS]
    params = SamplingParams(max_tokens=48, temperature=0.0)
    for question, samples in zip(QUESTIONS, await engine.sample_batch(prompts, params), strict=True):
        print(f"> {question}\n{samples[0].text}\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    asyncio.run(main(parser.parse_args().steps))
