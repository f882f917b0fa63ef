"""`reward_model`: a scalar head tells which of two replies people or judges prefer.

With v the head's output at a reply's last token, margin m and label p = P(chosen is better):

    d = v(chosen) - v(rejected)
    L = - p log σ(d - m) - (1 - p) log σ(-d - m)        unit: pair

Bradley and Terry 1952, as in Ouyang et al. 2022 (eq. 1); the margin is that of Touvron et al. 2023 (eq. 2). The value
is read at the end-of-turn token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from ethos.models.templates import ChatTemplate
from ethos.store.rows import PreferenceRow, Row
from ethos.training.batch import Batch
from ethos.training.objectives.pairs import LABEL, MARGIN, chosen_and_rejected, prepare_pairs
from ethos.training.objectives.tokenised import Tokenised
from ethos.training.objectives.types import Loss, Mean, Need, Unit
from ethos.training.outputs import Outputs


@dataclass(frozen=True, slots=True)
class RewardModel:
    """Needs a policy with a scalar head."""

    name: ClassVar[str] = "reward_model"
    unit: ClassVar[Unit] = "pair"
    needs: ClassVar[frozenset[Need]] = frozenset({"scalar_head"})
    signals: ClassVar[tuple[str, ...]] = ()

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Each pair as one row, its prompt shared."""
        return prepare_pairs((row for row in rows if isinstance(row, PreferenceRow)), template, limit_tokens)

    def units(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch.rows)

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Summed over pairs."""
        chosen_R, rejected_R = chosen_and_rejected(outputs.values_C)
        difference_R, margin_R = chosen_R - rejected_R, batch.signals[MARGIN]
        label_R, pairs = batch.signals[LABEL], len(batch.rows)
        loss_R = -label_R * F.logsigmoid(difference_R - margin_R)
        loss_R = loss_R - (1 - label_R) * F.logsigmoid(-difference_R - margin_R)
        apart_R = difference_R.detach()
        metrics = {"accuracy": Mean(float((apart_R > 0).sum()), pairs), "margin": Mean(float(apart_R.sum()), pairs)}
        return Loss(loss_R.sum(), metrics)
