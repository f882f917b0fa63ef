"""What the objectives are given once, at the launch; what of them may change while a run trains are knobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ethos.store.config.section import Section


class DemonstrationsObjective(Section):
    """The `demonstrations` objective."""

    turns: Literal["last", "all"] = "last"
    """Which of the assistant's turns in a conversation are trained on."""


class PreferencesObjective(Section):
    """The `preferences` objective."""

    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    """sigmoid: DPO. ipo: IPO, on means over tokens."""


class RewardsObjective(Section):
    """The `rewards` objective."""

    functions: dict[str, str] = Field(default={})
    """Rewards by name, each as `package.module:function`; `right_answer` is there without being named so."""
    estimator: Literal["grpo", "rloo"] = "grpo"
    """How an advantage is made of a group's rewards, and at which level ratios are clipped."""
    normalise: Literal["token", "sequence"] = "token"
    """grpo only. token: the loss is a mean over tokens, as in DAPO; sequence: over replies, each its own mean."""
    kl_estimator: Literal["unbiased", "k3"] = "unbiased"
    """grpo only: how the KL divergence from the reference is estimated. unbiased: k3 times the ratio."""
    draws: Annotated[int, Field(ge=2, le=96)] = 8
    """Replies to a prompt: the group."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Longest reply."""
    truncated: Literal["keep", "mask"] = "keep"
    """Whether a reply that was cut off is trained on; its rewards count in its group either way."""
    deviation_floor: Annotated[float, Field(gt=0)] = 0.01
    """Smallest deviation that a reward is divided by: one that hardly tells replies apart stays small."""

    @field_validator("functions")
    @classmethod
    def _names_are_plain(cls, functions: dict[str, str]) -> dict[str, str]:
        for name in functions:
            if not name.replace("_", "").isalnum():
                raise ValueError(f"functions: {name!r} can't be the name of a knob; use letters, digits and _")
            if name == "kl":
                raise ValueError("functions: kl is the divergence from the reference; give the reward another name")
        return functions


class RolloutsConfig(Section):
    """Who draws the replies that `rewards` and `distillation` train on."""

    server: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """The root of a vLLM server that holds the student's weights, such as `http://localhost:8000`; it is given the
    adapter before it draws, so `training.method` is `lora`. None: the policy's own engine."""


class DistillationObjective(Section):
    """The `distillation` objective; its teacher is `models.distillation_teacher`."""

    direction: Literal["reverse", "forward"] = "reverse"
    """reverse: KL(student || teacher), which leaves out what the teacher would not say. forward: the other way round,
    which covers all that it might."""
    draws: Annotated[int, Field(ge=1, le=96)] = 1
    """Replies to a prompt."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """Longest reply."""
