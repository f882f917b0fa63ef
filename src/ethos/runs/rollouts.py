"""Replies that the policy draws for a step, and what is found out about them before it trains.

All of it goes into the step's batch record: tokens, the log-probabilities they were drawn with, rewards, advantages.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ethos.models.types import BatchSampler, Sample, SamplingParams
from ethos.store.canonical import digest
from ethos.store.config.knobs import RewardsKnobs
from ethos.store.config.objectives import RewardsObjective
from ethos.store.rows import TaskRow
from ethos.training.advantages import group_advantages
from ethos.training.batch import Completion, TokenRow
from ethos.training.guard import START_ANEW, Diverged
from ethos.training.objectives.rewards import ADVANTAGE, REFERENCE, SAMPLING
from ethos.training.reward_functions import RewardFunction, score


class RolloutSampler(BatchSampler, Protocol):
    """What draws the policy's replies: its own engine, or a server that is given its weights."""

    name: str


KL = "kl"  # RLOO's, among the rewards


@dataclass(frozen=True, slots=True)
class Rollout:
    """A reply that the policy drew, and what was said of it."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    rewards: Mapping[str, float | None]
    reference: tuple[float, ...] | None = None  # log-probabilities under the reference
    divergence: float | None = None  # log π - log π_ref of the whole reply, both by the trainer's own code
    advantage: float | None = None  # None: not trained on

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the batch record."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Rollout:
        """The inverse of `to_dict`."""
        given: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in fields.items()}
        return cls(**given)

    def completion(self, signals: Sequence[str]) -> Completion:
        """As it is trained on, with those of its signals that the objective reads."""
        known = {SAMPLING: self.logprobs, REFERENCE: self.reference, ADVANTAGE: self.advantage}
        given = {name: known[name] for name in signals}
        return Completion(self.tokens, None, {name: value for name, value in given.items() if value is not None})


def sampling_params(seed: int, step: int, objective: str, max_tokens: int) -> SamplingParams:
    """From the policy's whole distribution, with the noise of that step and objective alone."""
    return SamplingParams(max_tokens, temperature=1.0, seed=int(digest([seed, step, objective])[:8], 16))


async def draw(
    sampler: RolloutSampler, tasks: Sequence[TaskRow], draws: int, params: SamplingParams
) -> list[tuple[list[Sample], list[Rollout]]]:
    """A group of replies to each prompt, in closed batches. A prompt that comes again gets other draws."""
    seen: Counter[str] = Counter()
    waves: dict[int, list[int]] = {}  # by how often a prompt came before
    for place, task in enumerate(tasks):
        waves.setdefault(seen[task.prompt.digest()], []).append(place)
        seen[task.prompt.digest()] += 1
    found: dict[int, tuple[list[Sample], list[Rollout]]] = {}
    for wave, places in waves.items():
        prompts = [tasks[place].prompt for place in places]
        groups = await sampler.sample_batch(prompts, params, range(wave * draws, (wave + 1) * draws))
        for place, samples in zip(places, groups, strict=True):
            found[place] = samples, [_rollout(sample) for sample in samples]
    return [found[place] for place in range(len(tasks))]


def _rollout(sample: Sample) -> Rollout:
    """Raises Diverged if the policy that drew it gives no probabilities any more."""
    assert sample.token_ids is not None
    assert sample.logprobs is not None
    require_finite(sample.logprobs, "a reply was drawn")
    return Rollout(sample.token_ids, sample.logprobs, sample.finish_reason == "length", {})


def require_finite(logprobs: Sequence[float], what: str) -> None:
    """Raises Diverged if a log-probability is not a finite number: they go into the step's record."""
    if not all(map(math.isfinite, logprobs)):
        raise Diverged(f"{what} with log-probabilities that are not finite; {START_ANEW}")


async def rewarded(
    tasks: Sequence[TaskRow],
    groups: Sequence[tuple[Sequence[Sample], Sequence[Rollout]]],
    functions: Mapping[str, RewardFunction],
) -> list[list[Rollout]]:
    """What each reward says of each reply, all asked at once. Raises EthosError if one fails."""

    async def of_group(task: TaskRow, samples: Sequence[Sample], rollouts: Sequence[Rollout]) -> list[Rollout]:
        scores = await asyncio.gather(*(score(name, function, task, samples) for name, function in functions.items()))
        by_reply = zip(*scores, strict=True)
        return [
            replace(rollout, rewards=dict(zip(functions, found, strict=True)))
            for rollout, found in zip(rollouts, by_reply, strict=True)
        ]

    return list(await asyncio.gather(*(of_group(task, *group) for task, group in zip(tasks, groups, strict=True))))


def with_advantages(rollouts: Sequence[Rollout], config: RewardsObjective, knobs: RewardsKnobs) -> list[Rollout]:
    """A group's replies with their advantages; without any, if no reward tells one from another.

    RLOO's KL divergence from the reference is a reward as well: - kl_coefficient × (log π - log π_ref).
    """
    rewards = [dict(rollout.rewards) for rollout in rollouts]
    weights = {name: knobs.weights[name] for name in config.functions}
    if config.estimator == "rloo" and knobs.kl_coefficient:
        weights[KL] = -knobs.kl_coefficient
        for given, rollout in zip(rewards, rollouts, strict=True):
            given[KL] = rollout.divergence
    found = group_advantages(rewards, weights, config.estimator, config.deviation_floor)
    if not found.spread:
        return list(rollouts)
    return [replace(rollout, advantage=value) for rollout, value in zip(rollouts, found.values, strict=True)]


def trained_rows(
    rows: Sequence[TokenRow], groups: Sequence[Sequence[Rollout]], signals: Sequence[str], *, mask_truncated: bool
) -> list[TokenRow]:
    """The prompts with the replies that are trained on; a prompt with none is left out."""
    found = []
    for row, group in zip(rows, groups, strict=True):
        kept = [rollout for rollout in group if not (mask_truncated and rollout.truncated)]
        if ADVANTAGE in signals:
            kept = [rollout for rollout in kept if rollout.advantage is not None]
        if kept:
            found.append(replace(row, completions=tuple(rollout.completion(signals) for rollout in kept)))
    return found
