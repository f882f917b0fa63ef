"""What a step's rate and weights are: the knobs are peaks, the schedule and the stages scale them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ethos.store.config.knobs import OBJECTIVE_NAMES, Knobs
from ethos.store.config.training import StageConfig, TrainingConfig


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is in force in one step."""

    stage: str
    lr: float
    weights: dict[str, float]


def plan_step(config: TrainingConfig, knobs: Knobs, step: int) -> StepPlan:
    """The plan of step `step`, counted from 0."""
    stage = stage_at(config, step)
    weights: dict[str, float] = {name: getattr(knobs.mixture, name) * stage.share_of(name) for name in OBJECTIVE_NAMES}
    return StepPlan(stage.name, knobs.lr * rate_factor(config, step), weights)


def stage_at(config: TrainingConfig, step: int) -> StageConfig:
    """The stage that a step belongs to."""
    later = (stage for place, stage in enumerate(config.stages) if step < config.first_step(place + 1))
    return next(later, config.stages[-1])


def rate_factor(config: TrainingConfig, step: int) -> float:
    """Linear warm-up to 1, then constant, or falling to 0 linearly or along half a cosine."""
    warmup = round(config.warmup * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, config.steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
