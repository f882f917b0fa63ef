"""How the student is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ethos.store.config.knobs import OBJECTIVE_NAMES
from ethos.store.config.objectives import (
    DemonstrationsObjective,
    DistillationObjective,
    PreferencesObjective,
    RewardsObjective,
    RolloutsConfig,
)
from ethos.store.config.section import Section


class LoraConfig(Section):
    """Adapters, as `peft` makes them."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Of each update: columns of its first factor."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """Updates are scaled by alpha / rank."""


class StageConfig(Section):
    """A part of the run with its own share of the mixture's peaks."""

    name: str
    """For whoever reads the config."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Part of the run's steps."""
    transition: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the stage's own steps over which its weights are reached, evenly, from those of the stage before."""
    documents: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.documents` is the weight in this stage."""
    demonstrations: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.demonstrations` is the weight in this stage."""
    preferences: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.preferences` is the weight in this stage."""
    reward_model: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.reward_model` is the weight in this stage."""
    rewards: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.rewards` is the weight in this stage."""
    distillation: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Times `mixture.distillation` is the weight in this stage."""

    @model_validator(mode="after")
    def _something_is_trained(self) -> StageConfig:
        if not any(self.share_of(name) for name in OBJECTIVE_NAMES):
            raise ValueError(f"stage {self.name}: every objective is at 0; give at least one a share above 0")
        return self

    def share_of(self, objective: str) -> float:
        """What the mixture's weight of that objective is multiplied by."""
        share: float = getattr(self, objective)
        return share


class TrainingConfig(Section):
    """How the student is trained."""

    method: Literal["full", "lora"] = "full"
    """Whether all weights are trained, or adapters beside them."""
    lora: LoraConfig = LoraConfig()
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Compute precision; masters are fp32 in any case. auto: bf16 where the hardware has it and is no slower in it."""
    steps: Annotated[int, Field(ge=1)] = 120
    """Optimizer steps in all."""
    micro_batch_tokens: Annotated[int, Field(ge=64)] = 2048
    """Largest packed micro-batch; more rows are accumulated."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory for a micro-batch's activations. Where it is short, micro-batches are made smaller, and if one row doesn't
    fit, as many blocks as need be are computed again in the backward pass. None: as `micro_batch_tokens` says."""
    context_tokens: Annotated[int, Field(ge=32)] = 1024
    """Longest row; a longer document is split, a longer chat is refused and counted."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the steps over which the rate rises to its peak."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after the warm-up."""
    stages: tuple[StageConfig, ...] = (
        StageConfig(name="documents", share=0.25, documents=1.0, demonstrations=0.0),
        StageConfig(name="demonstrations", share=0.75, documents=0.25, demonstrations=1.0),
    )
    """One after another; their shares add up to 1."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 40
    """Steps between checkpoints; a run that was killed repeats the steps since the newest."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints that stay on the disk."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Steps whose checkpoints stay as well: every so many. None: only the newest stay."""
    demonstrations: DemonstrationsObjective = DemonstrationsObjective()
    preferences: PreferencesObjective = PreferencesObjective()
    rewards: RewardsObjective = RewardsObjective()
    distillation: DistillationObjective = DistillationObjective()
    rollouts: RolloutsConfig = RolloutsConfig()

    @property
    def rollout_sizes(self) -> dict[str, RewardsObjective | DistillationObjective]:
        """Of the objectives that train on replies which the policy draws itself: how many, and how long."""
        return {"rewards": self.rewards, "distillation": self.distillation}

    @model_validator(mode="after")
    def _stages_fill_the_run(self) -> TrainingConfig:
        total = sum(s.share for s in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"stages: their shares add up to {total:g}; make them add up to 1")
        if self.steps < len(self.stages):
            raise ValueError(f"stages: there are {len(self.stages)}, and {self.steps} steps; give each stage a step")
        if self.stages[0].transition:
            raise ValueError("stages: the first has none before it, so it has no transition; use warmup for the rate")
        if self.rollouts.server is not None and self.method != "lora":
            raise ValueError(
                "rollouts.server: a vLLM server is given adapters, not whole weights; set method to lora, "
                "or leave the server out"
            )
        if self.keep_every is not None and self.keep_every % self.checkpoint_every:
            raise ValueError(
                f"keep_every: {self.keep_every} is no multiple of checkpoint_every ({self.checkpoint_every}), "
                "so no checkpoint would be kept for it; make it one"
            )
        return self

    def first_step(self, place: int) -> int:
        """The first step of the stage at that place in `stages`, or after the last the number of steps.

        Shares are rounded to whole steps, but no stage gets less than one.
        """
        rounded = round(sum(stage.share for stage in self.stages[:place]) * self.steps)
        return min(max(rounded, place), self.steps - len(self.stages) + place)
