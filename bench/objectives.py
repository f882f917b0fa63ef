"""Training against TRL on the same work: `python bench/objectives.py [demonstrations preferences rewards memory]`.

Everything is full training of SmolLM2-135M in bf16 compute. TRL runs in an environment of its own, at those of its
settings that were fastest on the first of the work; rounds alternate, ratios are medians of the rounds' own. JSON.

- demonstrations: an epoch over 512 chats of mixed length, in rounds of 128; prompts and replies are useful tokens.
- preferences: 128 pairs of prompt 256 and replies 128, in rounds of 16; the reference's share is in it.
- rewards: steps of 8 prompts of 128 tokens with 8 rollouts of 64 tokens each, under a reward that costs nothing.
- memory: a step on one row of 2,048 tokens, memory over what was held before it, and time. TRL computes all blocks
  twice; ours as many as a budget of most of TRL's peak leaves no room for.
"""

# ruff: noqa: E402, since the process is set up before torch is imported

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

sys.path.insert(0, str(Path(__file__).with_name("peers")))

from serve import peak, reset_peak

from ethos.process import tune_process

tune_process()

from race import Peer, Race, machine, race
from work import Chat, Words

from ethos.models.architecture import CausalForward
from ethos.models.catalogue import resolve
from ethos.models.engine import Engine
from ethos.models.loading import Loaded, load
from ethos.models.local import local_directory
from ethos.models.types import SamplingParams
from ethos.models.worker import Worker, compute_worker
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import DemonstrationRow, Lineage, PreferenceRow
from ethos.training.advantages import group_advantages
from ethos.training.batch import Completion, TokenRow, pack, single
from ethos.training.frozen import FrozenModel, with_signal
from ethos.training.memory import plan_memory
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.preferences import REFERENCE
from ethos.training.objectives.rewards import ADVANTAGE, SAMPLING, Rewards
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy, load_policy

P = ParamSpec("P")
R = TypeVar("R")

MODEL = "embedded:smollm2-135m"
LINEAGE = Lineage("bench", capability_source="bench/work.py")
STEP_ROWS = 8  # rows in an optimizer step, on both sides
MICRO_BATCH = 2048  # tokens
PAIRS_MICRO_BATCH = 4352  # a whole step of pairs; TRL's is the faster one of 1 and 4 pairs
PARAMS = OptimParams(lr=1e-5)
SHARE_OF_PEAK = 0.8  # of TRL's, for our activations; the rest is for what a step allocates beside them


class Bench:
    """The policy, the thread it computes on, and the peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.directory = local_directory(resolve(MODEL, Path.cwd()))
        self.worker: Worker = compute_worker()

    def compute(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a job on the thread that a run's training has."""
        return asyncio.run(self.worker.run(job, *args, **kwargs))

    def policy(self) -> Policy:
        """From the weights as they are."""
        return self.compute(load_policy, self.directory, TrainingConfig(), None, 0)

    def _reference(self) -> FrozenModel:
        model = load(self.directory).model
        return FrozenModel(model, CausalForward(model))

    def demonstrations(self) -> dict[str, Any]:
        """Useful tokens a second."""
        policy, objective = self.policy(), OBJECTIVES["demonstrations"]
        rounds = [Words(policy.template.tokenizer, seed).chats(128) for seed in range(4)]

        def tokens(chats: Sequence[Chat]) -> list[TokenRow]:
            rows = [
                DemonstrationRow(Conversation.user(chat["prompt"]).then("assistant", chat["reply"]), LINEAGE)
                for chat in chats
            ]
            return objective.prepare(rows, policy.template, 512).rows

        def ours(number: int) -> float:
            rows = tokens(rounds[max(0, number)])[: None if number >= 0 else STEP_ROWS]
            began = time.perf_counter()
            for start in range(0, len(rows), STEP_ROWS):
                policy.forward_backward(pack(rows[start : start + STEP_ROWS], MICRO_BATCH), objective, 1.0)
                policy.optim_step(PARAMS)
            return sum(row.tokens for row in rows) / (time.perf_counter() - began)

        def theirs(number: int) -> float:
            chats = rounds[max(0, number)]
            answer = self.peer.ask(
                job="demonstrations", directory=str(self.directory), chats=chats, rows_a_step=STEP_ROWS
            )
            print(answer["settings"], file=sys.stderr)
            return sum(row.tokens for row in tokens(chats)) / float(answer["seconds"])

        return race(lambda number: self.compute(ours, number), theirs, len(rounds)).to_dict("useful tokens/s", 2.5)

    def preferences(self) -> dict[str, Any]:
        """Pairs a second."""
        policy, objective = self.policy(), OBJECTIVES["preferences"]
        reference = self.compute(self._reference)
        rounds = [Words(policy.template.tokenizer, seed).pairs(16, 256, 128) for seed in range(8)]

        def ours(number: int) -> float:
            pairs = [
                PreferenceRow(Conversation.user(pair["prompt"]), pair["chosen"], pair["rejected"], LINEAGE)
                for pair in rounds[max(0, number)]
            ]
            rows = objective.prepare(pairs, policy.template, 1024).rows
            began = time.perf_counter()
            for start in range(0, len(rows), STEP_ROWS):
                part = rows[start : start + STEP_ROWS]
                found = reference.logprobs(part, PAIRS_MICRO_BATCH)
                part = [with_signal(row, REFERENCE, [sum(c) for c in cs]) for row, cs in zip(part, found, strict=True)]
                policy.forward_backward(pack(part, PAIRS_MICRO_BATCH), objective, 1.0)
                policy.optim_step(PARAMS)
            return len(rows) / (time.perf_counter() - began)

        def theirs(number: int) -> float:
            pairs = rounds[max(0, number)]
            answer = self.peer.ask(job="preferences", directory=str(self.directory), pairs=pairs)
            print(answer["settings"], file=sys.stderr)
            return len(pairs) / float(answer["seconds"])

        return race(lambda number: self.compute(ours, number), theirs, len(rounds)).to_dict("pairs/s", 2.5)

    def rewards(self, prompts: int = 8, draws: int = 8, max_tokens: int = 64) -> dict[str, Any]:
        """Steps a second."""
        policy, noise, objective = self.policy(), random.Random(0), Rewards(ratio_to="trainer")
        endless = Loaded(policy.loaded.model, policy.loaded.tokenizer, frozenset())  # every reply runs to its limit
        engine = self.compute(Engine, MODEL, "bench", endless, policy.template, self.worker, forward=policy.forward)
        rounds = [Words(policy.template.tokenizer, seed).prompts(prompts, 128) for seed in range(3)]

        async def step(asked: Sequence[Conversation], number: int) -> None:
            params = SamplingParams(max_tokens, temperature=1.0, seed=number + 1)
            groups = await engine.sample_batch(asked, params, range(draws))
            rows = []
            for prompt, samples in zip(asked, groups, strict=True):
                scores = [{"noise": noise.random()} for _ in samples]
                found = group_advantages(scores, {"noise": 1.0}, "grpo", 1e-4)
                completions = [
                    Completion(s.token_ids or (), None, {SAMPLING: s.logprobs or (), ADVANTAGE: advantage or 0.0})
                    for s, advantage in zip(samples, found.values, strict=True)
                ]
                rows.append(TokenRow("bench", policy.template.prompt(prompt), tuple(completions)))
            await self.worker.run(policy.forward_backward, pack(rows, MICRO_BATCH), objective, 1.0)
            await self.worker.run(policy.optim_step, PARAMS)
            await self.worker.run(engine.weights_changed, str(number))

        def ours(number: int) -> float:
            asked = [Conversation.user(text) for text in rounds[max(0, number)]]
            began = time.perf_counter()
            asyncio.run(step(asked, number))
            return 1 / (time.perf_counter() - began)

        def theirs(number: int) -> float:
            given = {"prompts": rounds[max(0, number)], "draws": draws, "max_tokens": max_tokens}
            answer = self.peer.ask(job="rewards", directory=str(self.directory), **given)
            print(answer["settings"], file=sys.stderr)
            return 1 / float(answer["seconds"])

        return race(ours, theirs, len(rounds)).to_dict("steps/s", 3.5)

    def memory(self, tokens: int = 2048) -> dict[str, Any]:
        """Bytes of a step's peak, and steps a second."""
        policy = self.policy()
        row = single("bench", [5 + (i * 7919) % 20000 for i in range(tokens)], 1)

        def step() -> None:
            policy.forward_backward(pack([row], tokens), OBJECTIVES["documents"], 1.0)
            policy.optim_step(PARAMS)

        def theirs() -> dict[str, Any]:
            return self.peer.ask(job="memory", directory=str(self.directory), tokens=tokens, rows=3)

        peer_bytes = int(theirs()["peak_bytes"])
        budget = TrainingConfig(memory_gib=SHARE_OF_PEAK * peer_bytes / 2**30, micro_batch_tokens=tokens)
        policy.recomputed = self.compute(plan_memory, policy, budget, [row.size]).recomputed
        self.compute(step)  # makes the moments
        found, peaks = Race(), []
        for _ in range(5):
            before, began = reset_peak(), time.perf_counter()
            self.compute(step)
            found.ours.append(1 / (time.perf_counter() - began))
            peaks.append(peak() - before)
            found.peer.append(1 / float(theirs()["seconds"]))
        share = round(max(peaks) / peer_bytes, 2)
        memory = {"peak_bytes": max(peaks), "peer_peak_bytes": peer_bytes, "peak_share": share}
        told = {**found.to_dict("steps/s", 1.5), **memory, "recomputed_blocks": policy.recomputed}
        return {**told, "reached": told["reached"] and share <= 1}


def main() -> None:
    """Measures what is asked for, and prints."""
    names = ("demonstrations", "preferences", "rewards", "memory")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", choices=(*names, []), default=[])
    wanted = parser.parse_args().benches or names
    found: dict[str, Any] = {"machine": machine(), "model": MODEL, "peer": "TRL 1.16.0"}
    for name in wanted:
        with Peer("trl") as peer:
            found[name] = getattr(Bench(peer), name)()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
