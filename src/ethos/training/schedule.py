"""What a step's rate and weights are: the knobs are peaks, the schedule and the stages scale them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ethos.store.config.knobs import OBJECTIVE_NAMES, Knobs
from ethos.store.config.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is in force in one step."""

    stage: str
    lr: float
    weights: dict[str, float]


def plan_step(config: TrainingConfig, knobs: Knobs, step: int) -> StepPlan:
    """The plan of step `step`, counted from 0."""
    place = stage_place(config, step)
    weights: dict[str, float] = {
        name: getattr(knobs.mixture, name) * share_at(config, place, name, step) for name in OBJECTIVE_NAMES
    }
    return StepPlan(config.stages[place].name, knobs.lr * rate_factor(config, step), weights)


def stage_place(config: TrainingConfig, step: int) -> int:
    """Where in `stages` the stage is that a step belongs to; a step past the plan belongs to the last."""
    later = (place for place in range(len(config.stages)) if step < config.first_step(place + 1))
    return next(later, len(config.stages) - 1)


def share_at(config: TrainingConfig, place: int, objective: str, step: int) -> float:
    """What scales an objective's weight in a step of the stage at that place: in its transition, between two stages."""
    stage, first = config.stages[place], config.first_step(place)
    steps = round(stage.transition * (config.first_step(place + 1) - first))
    if step - first >= steps:
        return stage.share_of(objective)
    before = config.stages[place - 1].share_of(objective)
    return before + (stage.share_of(objective) - before) * (step - first + 1) / steps


def rate_factor(config: TrainingConfig, step: int) -> float:
    """Linear warm-up to 1, then constant, or falling to 0 linearly or along half a cosine."""
    warmup = round(config.warmup * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, config.steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
