"""The knobs: what may change while a run trains.

Each has its bounds, its meaning and its liveness on the field itself. What is in force at a step is the launch value
and the journal entries up to it (`store/journal.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ethos.store.config.section import Section

Liveness = Literal["live", "next-sample"]
ObjectiveName = Literal["documents", "demonstrations"]
OBJECTIVES: tuple[ObjectiveName, ...] = ("documents", "demonstrations")


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


class Knobs(Section):
    """Everything that may change while a run trains, as one immutable value, read once a step."""

    lr: float = _knob(1e-4, "live", ge=0, le=1e-2)
    """Peak learning rate; the schedule scales it."""
    clip: float = _knob(1.0, "live", gt=0, le=1e6)
    """Largest norm of the whole gradient; above it the gradient is scaled down."""
    weight_decay: float = _knob(0.0, "live", ge=0, le=1)
    """AdamW's decoupled weight decay."""
    batch_rows: int = _knob(8, "live", ge=1, le=4096)
    """Rows in one optimizer step, over all objectives."""
    taste_every: int = _knob(20, "live", ge=1, le=100_000)
    """Steps between two looks."""
    taste_prompts: int = _knob(2, "next-sample", ge=1, le=1000)
    """Taste scenarios a clause in one look; the first is in every look, the others rotate."""
    mixture: MixtureKnobs = Field(default_factory=MixtureKnobs)
