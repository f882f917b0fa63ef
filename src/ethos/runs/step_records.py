"""What each step trains on: drawn once, committed as the step's batch record before it trains, and read back from it.

The record names rows, holds the policy's own replies with all that was said of them, and the settings in force; so a
step that is repeated samples nothing, asks nobody, and is the same to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from ethos.errors import EthosError
from ethos.models.architecture import KNOWN_TYPES
from ethos.runs.prepared import Prepared, without_rows
from ethos.runs.rollouts import (
    Rollout,
    RolloutSampler,
    draw,
    require_finite,
    rewarded,
    sampling_params,
    trained_rows,
    with_advantages,
)
from ethos.runs.session import Session
from ethos.runs.students import policy_calls
from ethos.store.config.knobs import Knobs
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import TokenRow
from ethos.training.frozen import FrozenModel, with_signal
from ethos.training.memory import MemoryPlan
from ethos.training.mixture import Cursor, share_slots, take_rows
from ethos.training.objectives.in_force import objective_with, objectives_in_force, settings_of
from ethos.training.objectives.preferences import REFERENCE
from ethos.training.objectives.types import Need, Objective
from ethos.training.policy import Policy
from ethos.training.reward_functions import RewardFunction
from ethos.training.schedule import plan_step

T = TypeVar("T")

RunJob = Callable[..., Awaitable[Any]]
"""Runs a function on the compute thread."""

ROLLOUTS = "rollouts"  # what the policy samples them for, in the ledger


@dataclass(frozen=True, slots=True)
class Helpers:
    """What a step may ask beside the policy's own forward pass."""

    sampler: RolloutSampler  # on the policy's weights
    policy: FrozenModel  # the student as it is at the step, by the code that trains it
    reference: FrozenModel  # the student before training
    teacher: FrozenModel  # of distillation
    rewards: Mapping[str, RewardFunction]


class StepRecords:
    """The batch records of one branch."""

    def __init__(
        self,
        session: Session,
        prepared: Mapping[str, Prepared],
        branch: str,
        helpers: Helpers | None = None,
    ) -> None:
        """`helpers` None: nothing but documents and demonstrations, or what has been recorded, is trained on."""
        self._session, self._prepared, self._branch, self._helpers = session, prepared, branch, helpers
        self._config = session.config.training
        self.plan = MemoryPlan(self._config.micro_batch_tokens)
        self.cursors: dict[str, Cursor] = {}
        self.seconds: dict[str, float] = {}  # of the newest record: to draw, score and refer, by objective

    async def committed(self, step: int, run_job: RunJob) -> dict[str, Any]:
        """The step's batch record: the one that is committed, or a new one, committed before this returns."""
        self.seconds = {}
        recorded = self._session.records.batch(self._branch, step)
        if recorded is not None:
            self.cursors.update({name: Cursor(**cursor) for name, cursor in recorded["cursors"].items()})
            return recorded
        config, seed = self._config, self._session.config.seed
        begun = self._session.records.drawn_with(self._branch, step)
        knobs = self._session.journal.knobs(self._branch, step) if begun is None else Knobs.model_validate(begun)
        plan = plan_step(config, knobs, step - 1)
        weights = {name: weight for name, weight in plan.weights.items() if name in self._prepared}
        taken: dict[str, list[int]] = {}
        for name, slots in share_slots(weights, knobs.batch_rows, seed, step).items():
            taken[name], self.cursors[name] = take_rows(self._prepared[name].rows, self.cursors.get(name), slots, seed)
        objectives = objectives_in_force(config, knobs)
        record: dict[str, Any] = {
            "stage": plan.stage,
            "lr": plan.lr,
            "weights": {name: weights[name] for name in taken},
            "settings": {name: settings_of(objectives[name]) for name in taken},
            "optimizer": {"weight_decay": knobs.weight_decay, "clip": knobs.clip},
            "rewards": [name for name, weight in knobs.rewards.weights.items() if weight],
            "rows": taken,
            "row_ids": {name: [row.row_id for row in self._taken(name, indices)] for name, indices in taken.items()},
            "micro_batch_tokens": self.plan.micro_batch_tokens,
            "repeat_cost": self.plan.repeat_cost,
            "cursors": {name: asdict(self.cursors[name]) for name in taken},
        }
        drawn = [name for name in taken if "replies" in objectives[name].needs]
        compared = [name for name in taken if name not in drawn and "reference" in objectives[name].needs]
        if begun is None and (drawn or compared):
            # others are asked now, and what somebody changes meanwhile is in force from the next step on
            self._session.records.begin_draw(self._branch, step, knobs.model_dump())
        if drawn:
            groups = {
                name: await self._timed(name, self._drawn(objectives[name], step, taken[name], knobs, run_job))
                for name in drawn
            }
            record["rollouts"] = {
                name: [[rollout.to_dict() for rollout in group] for group in found] for name, found in groups.items()
            }
        for name in compared:
            await self._timed(name, self._refer(self._taken(name, taken[name]), run_job))
        self._session.records.add_batch(self._branch, step, record)
        return record

    def rows(self, step: int, record: Mapping[str, Any], name: str) -> list[TokenRow]:
        """What one objective trains on in a step. Raises EthosError if its rows aren't those that the record names."""
        taken = self._taken(name, record["rows"][name])
        if [row.row_id for row in taken] != record["row_ids"][name]:
            raise EthosError(
                f"step {step}: the rows of {name} are not those that its record names; "
                "restore the run's rows/ folder, or start a run of another name"
            )
        objective = objective_with(name, record["settings"][name])
        if "replies" in objective.needs:
            masked = "rewards" in objective.needs and self._config.rewards.truncated == "mask"
            return trained_rows(taken, _groups(record, name), objective.signals, mask_truncated=masked)
        return self._with_references(taken) if "reference" in objective.needs else taken

    def _taken(self, name: str, indices: Iterable[int]) -> list[TokenRow]:
        tokens = self._prepared[name].tokens if name in self._prepared else ()
        return [tokens[index] for index in indices if index < len(tokens)]

    async def _timed(self, name: str, job: Awaitable[T]) -> T:
        began = time.perf_counter()
        found = await job
        self.seconds[name] = time.perf_counter() - began
        return found

    async def _drawn(
        self, objective: Objective, step: int, taken: Sequence[int], knobs: Knobs, run_job: RunJob
    ) -> list[list[Rollout]]:
        """Replies to the prompts of one objective, and what is said of them."""
        name, needs, helpers = objective.name, objective.needs, self._needed()
        sizes = self._config.rollout_sizes[name]
        tasks = [self._prepared[name].tasks[index] for index in taken]
        params = sampling_params(self._session.config.seed, step, name, sizes.max_tokens)
        drawn = await draw(helpers.sampler, tasks, sizes.draws, params)
        usage = [sample.usage for samples, _ in drawn for sample in samples]
        self._session.ledger.add(policy_calls(helpers.sampler.name, ROLLOUTS, usage))
        if "rewards" not in needs:
            return [rollouts for _, rollouts in drawn]
        groups = await rewarded(tasks, drawn, helpers.rewards)
        rows, config = self._taken(name, taken), self._config.rewards
        is_rloo = config.estimator == "rloo"  # whose divergence from the reference is a reward of every reply
        if "reference" in needs and is_rloo:
            groups = await self._with_divergences(rows, await self._referred(rows, groups, run_job), run_job)
        groups = [with_advantages(group, config, knobs.rewards) for group in groups]
        return groups if is_rloo or "reference" not in needs else await self._referred(rows, groups, run_job)

    async def _referred(
        self, rows: Sequence[TokenRow], groups: Sequence[Sequence[Rollout]], run_job: RunJob
    ) -> list[list[Rollout]]:
        """The replies with their log-probabilities under the reference; for GRPO those alone that are trained on."""
        config = self._config.rewards

        def is_asked(rollout: Rollout) -> bool:
            is_masked = config.truncated == "mask" and rollout.truncated
            return config.estimator == "rloo" or (rollout.advantage is not None and not is_masked)

        asked = trained_rows(rows, [list(filter(is_asked, group)) for group in groups], (), mask_truncated=False)
        found = await run_job(self._needed().reference.logprobs, asked, self.plan.micro_batch_tokens)
        _require_finite(asked, found)
        references = (logprobs for of_row in found for logprobs in of_row)
        return [
            [replace(rollout, reference=next(references)) if is_asked(rollout) else rollout for rollout in group]
            for group in groups
        ]

    async def _with_divergences(
        self, rows: Sequence[TokenRow], groups: Sequence[Sequence[Rollout]], run_job: RunJob
    ) -> list[list[Rollout]]:
        """Referred replies with how far the policy has gone from the reference.

        Not by the sampler's log-probabilities, which bf16 rounds otherwise: over a long reply that adds up to nats.
        """
        whole = trained_rows(rows, groups, (), mask_truncated=False)
        own = await run_job(self._needed().policy.logprobs, whole, self.plan.micro_batch_tokens)
        return [
            [
                replace(rollout, divergence=math.fsum(logprobs) - math.fsum(rollout.reference or ()))
                for rollout, logprobs in zip(group, of_row, strict=True)
            ]
            for group, of_row in zip(groups, own, strict=True)
        ]

    async def _refer(self, pairs: Sequence[TokenRow], run_job: RunJob) -> None:
        """Computes the reference's log-probabilities of pairs that have none yet; they are computed once a run."""
        helpers, records = self._needed(), self._session.records
        known = records.references([row.row_id for row in pairs])
        missing = list({row.row_id: row for row in pairs if row.row_id not in known}.values())
        if missing:
            found = await run_job(helpers.reference.logprobs, missing, self.plan.micro_batch_tokens)
            _require_finite(missing, found)
            totals = [[sum(logprobs) for logprobs in of_row] for of_row in found]
            records.add_references({row.row_id: total for row, total in zip(missing, totals, strict=True)})

    def _with_references(self, pairs: Sequence[TokenRow]) -> list[TokenRow]:
        known = self._session.records.references([row.row_id for row in pairs])
        return [with_signal(row, REFERENCE, known[row.row_id]) for row in pairs]

    def _needed(self) -> Helpers:
        assert self._helpers is not None, "a branch that draws or refers needs helpers"
        return self._helpers


def _require_finite(rows: Sequence[TokenRow], found: Sequence[Sequence[Sequence[float]]]) -> None:
    for row, of_row in zip(rows, found, strict=True):
        for logprobs in of_row:
            require_finite(logprobs, f"the reference answers row {row.row_id}")


def untrainable(
    config: TrainingConfig, prepared: Mapping[str, Prepared], policy: Policy, helpers: Helpers | None
) -> dict[str, str]:
    """The objectives that some stage would train and this run can't, each with the reason and the mend."""
    found = dict.fromkeys(
        without_rows(config, prepared),
        "the run has no row for it; leave it at 0, or start a run of another name with other models, an easier spec or "
        "rows of your own",
    )
    known = f"a model of a known shape ({', '.join(KNOWN_TYPES)})"
    whys: dict[Need, str] = {}
    if policy.scalar_head_E is None:
        whys["scalar_head"] = f"only {known} has a scalar head; leave it at 0, or name such a student"
    if policy.forward is None or (helpers is not None and helpers.teacher.forward is None):
        whys["teacher"] = f"student and teacher have to be {known}; leave it at 0, or name such models"
    if not config.rewards.functions:
        whys["rewards"] = "training.rewards.functions names no reward; start a run of another name with one"
    for name, objective in objectives_in_force(config, Knobs()).items():
        for need in objective.needs & whys.keys():
            found.setdefault(name, whys[need])
    return found


def _groups(record: Mapping[str, Any], name: str) -> list[list[Rollout]]:
    return [[Rollout.from_dict(fields) for fields in group] for group in record["rollouts"][name]]


def rollout_metrics(record: Mapping[str, Any], truncated: str) -> dict[str, float]:
    """What a step's own replies were like: rewards as they were given, and how many say nothing to the policy.

    `truncated` is the config's word on those that were cut off.
    """
    metrics: dict[str, float] = {}
    for name in record.get("rollouts", {}):
        groups = _groups(record, name)
        every = [rollout for group in groups for rollout in group]
        metrics[f"truncated.{name}"] = sum(rollout.truncated for rollout in every) / len(every)
        metrics[f"reply_tokens.{name}"] = sum(len(rollout.tokens) for rollout in every) / len(every)
        if name != "rewards":
            continue
        for reward in every[0].rewards:
            scores = [score for rollout in every if (score := rollout.rewards[reward]) is not None]
            if scores:
                metrics[f"reward.{reward}"] = sum(scores) / len(scores)
        told = [group for group in groups if any(rollout.advantage is not None for rollout in group)]
        metrics["groups_skipped.rewards"] = len(groups) - len(told)
        metrics["masked.rewards"] = sum(rollout.truncated for rollout in every) if truncated == "mask" else 0
        counted = record["rewards"]
        metrics["unscored.rewards"] = sum(any(r.rewards.get(name) is None for name in counted) for r in every)
    return metrics
