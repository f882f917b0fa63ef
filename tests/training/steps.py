"""Steps that train all objectives, for a policy in one process or in several."""

from __future__ import annotations

from typing import Any

from ethos.models.architecture import CausalForward
from ethos.training.accumulation import StepMetrics
from ethos.training.batch import Batch, Completion, TokenRow, pack
from ethos.training.frozen import FrozenModel, with_signal
from models import tiny
from training.character import token_rows

WEIGHTS = {
    "documents": 0.5,
    "demonstrations": 1.0,
    "preferences": 0.7,
    "reward_model": 0.3,
    "rewards": 0.4,
    "distillation": 0.6,
}


def every_row_of(step: int) -> dict[str, list[TokenRow]]:
    """By objective; of some there are more rows than of others."""
    rows = {name: token_rows(name) for name in ("documents", "demonstrations", "preferences", "reward_model")}
    rows["preferences"] = [with_signal(row, "reference_logprob", (-9.0, -8.0)) for row in rows["preferences"]]
    drawn = TokenRow("r", (1, 2, 3 + step), (Completion((4, 5, 6)), Completion((7, 8))))
    drawn = with_signal(drawn, "sampling_logprobs", [(-3.0, -4.0, -5.0), (-2.0, -6.0)])
    return rows | {"rewards": [with_signal(drawn, "advantage", (1.0, -0.5))], "distillation": [drawn]}


def every_batch_of(step: int) -> dict[str, list[Batch]]:
    """By objective, a row each: as many micro-batches as there can be."""
    batches = {name: pack(rows, 1) for name, rows in every_row_of(step).items()}
    model = tiny.model("qwen2", 1)
    teacher = FrozenModel(model, CausalForward(model))
    return batches | {"distillation": [teacher.teach(batch, 1000) for batch in batches["distillation"]]}


def metrics_of(name: str, found: StepMetrics) -> dict[str, Any]:
    """Numbers that don't depend on how a step was shared out."""
    counts = {"units": found.units, "tokens": found.tokens, "targets": found.targets}
    return {"name": name, "loss": found.loss, "norm": found.gradient_norm, **counts, **found.metrics}
