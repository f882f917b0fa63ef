"""An objective as it is in force in a step: what the config gave it at the launch, and the knobs of that step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ethos.store.config.knobs import Knobs
from ethos.store.config.training import TrainingConfig
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.demonstrations import Demonstrations
from ethos.training.objectives.distillation import Distillation
from ethos.training.objectives.preferences import Preferences
from ethos.training.objectives.rewards import Rewards
from ethos.training.objectives.types import Objective


def objectives_in_force(config: TrainingConfig, knobs: Knobs) -> dict[str, Objective]:
    """All objectives by name, in the order in which a step computes them."""
    pairs, drawn = knobs.preferences, knobs.rewards
    # Each step draws its own replies, so only a server's numbers are not the trainer's up to rounding; and over a whole
    # reply even rounding adds up to more than the clip bounds.
    by_server = config.rollouts.server is not None and config.rewards.estimator == "grpo"
    given: dict[str, Objective] = {
        "demonstrations": Demonstrations(config.demonstrations.turns),
        "preferences": Preferences(
            config.preferences.loss_type, pairs.beta, pairs.label_smoothing, pairs.nll_coefficient
        ),
        "rewards": Rewards(
            config.rewards.estimator,
            config.rewards.normalise,
            drawn.clip_low,
            drawn.clip_high,
            drawn.kl_coefficient,
            config.rewards.kl_estimator,
            "sampler" if by_server else "trainer",
        ),
        "distillation": Distillation(config.distillation.direction),
    }
    return {name: given.get(name, default) for name, default in OBJECTIVES.items()}


def settings_of(objective: Objective) -> dict[str, Any]:
    """Its hyperparameters, JSON-ready; `objective_with` is the inverse."""
    return asdict(objective)  # type: ignore[call-overload,no-any-return]


def objective_with(name: str, settings: Mapping[str, Any]) -> Objective:
    """The objective of that name with these hyperparameters, as a step's record holds them."""
    return type(OBJECTIVES[name])(**settings)
