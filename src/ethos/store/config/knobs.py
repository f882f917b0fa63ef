"""The knobs: what may change while a run trains.

Each has its bounds, its meaning and its liveness on the field itself. What is in force at a step is the launch value
and the journal entries up to it (`store/journal.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ethos.store.config.section import Section

Liveness = Literal["live", "next-sample"]
OBJECTIVE_NAMES = ("documents", "demonstrations", "preferences", "reward_model", "rewards", "distillation")
"""In the order in which a step computes them."""


def _knob(default: Any, live: Liveness, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={"live": live}, **bounds)


class MixtureKnobs(Section):
    """Peak weights of the objectives; a stage scales them. A weight is the coefficient on the objective's own mean, and
    a step's rows are shared out in proportion to the weights.
    """

    documents: float = _knob(1.0, "live", ge=0, le=10)
    """Next-token loss on documents and on the spec's own text."""
    demonstrations: float = _knob(1.0, "live", ge=0, le=10)
    """Loss on the assistant's tokens of demonstrations."""
    preferences: float = _knob(0.0, "live", ge=0, le=10)
    """DPO or IPO on pairs of replies."""
    reward_model: float = _knob(0.0, "live", ge=0, le=10)
    """Bradley-Terry loss of a scalar head on pairs of replies."""
    rewards: float = _knob(0.0, "live", ge=0, le=10)
    """GRPO or RLOO on replies that the policy draws; a row is a prompt with all its draws."""
    distillation: float = _knob(0.0, "live", ge=0, le=10)
    """KL divergence from a teacher on replies that the policy draws."""


class PreferencesKnobs(Section):
    """Of `preferences`."""

    beta: float = _knob(0.1, "live", gt=0, le=10)
    """How strongly the policy is held to its reference: the larger, the closer."""
    label_smoothing: float = _knob(0.0, "live", ge=0, le=0.5)
    """Probability that a label is wrong."""
    nll_coefficient: float = _knob(0.0, "live", ge=0, le=10)
    """Weight of the chosen reply's own likelihood, per token, beside the preference."""


RewardWeight = Annotated[float, Field(ge=0, le=100)]


class RewardsKnobs(Section):
    """Of `rewards`."""

    weights: dict[str, RewardWeight] = _knob({}, "next-sample")
    """Weights of rewards by name, each applied after that reward is normalised within its group. What isn't named has
    weight 1."""
    clip_low: float = _knob(0.2, "live", ge=0, le=1)
    """How far a ratio may fall below 1 before its gradient stops. On policy, as the run's own engine draws, it is 1."""
    clip_high: float = _knob(0.2, "live", ge=0, le=10)
    """How far it may rise above 1; see `clip_low`."""
    kl_coefficient: float = _knob(0.0, "next-sample", ge=0, le=10)
    """Weight of the KL divergence from the student before training; 0 computes none."""


class Knobs(Section):
    """Everything that may change while a run trains, as one immutable value, read once a step."""

    lr: float = _knob(1e-4, "live", ge=0, le=1e-2)
    """Peak learning rate; the schedule scales it."""
    clip: float = _knob(1.0, "live", gt=0, le=1e6)
    """Largest norm of the whole gradient; above it the gradient is scaled down."""
    weight_decay: float = _knob(0.0, "live", ge=0, le=1)
    """AdamW's decoupled weight decay, of matrices: norms and biases have none."""
    batch_rows: int = _knob(8, "live", ge=1, le=4096)
    """Rows in one optimizer step, over all objectives."""
    taste_every: int = _knob(20, "live", ge=1, le=100_000)
    """Steps between two looks."""
    taste_prompts: int = _knob(2, "next-sample", ge=1, le=1000)
    """Taste scenarios a clause in one look; the first is in every look, the others rotate."""
    spike_factor: float = _knob(100.0, "live", ge=0, le=1e6)
    """A step whose gradient norm is above so many times the median of the last 20 stops the run before it is taken;
    0 stops for none."""
    mixture: MixtureKnobs = Field(default_factory=MixtureKnobs)
    preferences: PreferencesKnobs = Field(default_factory=PreferencesKnobs)
    rewards: RewardsKnobs = Field(default_factory=RewardsKnobs)
