"""`preferences`: of two replies to a prompt the better one becomes likelier, measured against a frozen reference.

With r(y) = log π(y|x) - log π_ref(y|x), h = r(chosen) - r(rejected), label p = P(chosen is better) and smoothing ε,
p' = p (1 - 2ε) + ε:

    sigmoid   L = - p' log σ(β h) - (1 - p') log σ(-β h)
    ipo       L = p' (h' - 1/(2β))² + (1 - p') (h' + 1/(2β))²      h' as h, each r divided by its number of tokens
    + nll_coefficient × ( - log π(chosen|x) / |chosen| )           unit: pair

`sigmoid` is DPO (Rafailov et al. 2023, eq. 7), smoothed as in Mitchell 2023 (eq. 3); `ipo` is Azar et al. 2024
(eq. 17), per token as its authors ran it, its expectation taken over the label. The likelihood term is that of Pang et
al. 2024 (eq. 1). Left out on purpose: the two dozen variants that differ in the outer function alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from ethos.models.templates import ChatTemplate
from ethos.store.rows import PreferenceRow, Row
from ethos.training.batch import Batch
from ethos.training.objectives.pairs import LABEL, chosen_and_rejected, prepare_pairs
from ethos.training.objectives.tokenised import Tokenised
from ethos.training.objectives.types import Loss, Mean, Need, Unit
from ethos.training.outputs import Outputs

REFERENCE = "reference_logprob"
"""The signal of a completion that holds its whole log-probability under the reference."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """A choice between two replies, with its hyperparameters."""

    name: ClassVar[str] = "preferences"
    unit: ClassVar[Unit] = "pair"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})
    signals: ClassVar[tuple[str, ...]] = (REFERENCE,)

    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    nll_coefficient: float = 0.0

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Each pair as one row, its prompt shared; the reference's log-probabilities are yet to come."""
        return prepare_pairs((row for row in rows if isinstance(row, PreferenceRow)), template, limit_tokens)

    def units(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch.rows)

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Summed over pairs."""
        logprobs_C = batch.sum_by_completion(outputs.logprobs_M)
        targets_C = batch.targets_by_completion()
        ratios_C = logprobs_C - batch.signals[REFERENCE]
        chosen_R, rejected_R = chosen_and_rejected(ratios_C)
        label_R = batch.signals[LABEL] * (1 - 2 * self.label_smoothing) + self.label_smoothing
        difference_R = chosen_R - rejected_R
        if self.loss_type == "sigmoid":
            logits_R = self.beta * difference_R
            loss_R = -label_R * F.logsigmoid(logits_R) - (1 - label_R) * F.logsigmoid(-logits_R)
        else:
            difference_R = torch.sub(*chosen_and_rejected(ratios_C / targets_C))
            target = 1 / (2 * self.beta)
            loss_R = label_R * (difference_R - target) ** 2 + (1 - label_R) * (difference_R + target) ** 2
        if self.nll_coefficient:
            loss_R = loss_R - self.nll_coefficient * (logprobs_C / targets_C)[0::2]
        pairs, rewards_R = len(batch.rows), self.beta * difference_R.detach()
        metrics = {
            "accuracy": Mean(float((rewards_R > 0).sum()), pairs),
            "margin": Mean(float(rewards_R.sum()), pairs),
            "chosen_reward": Mean(self.beta * float(chosen_R.detach().sum()), pairs),
            "rejected_reward": Mean(self.beta * float(rejected_R.detach().sum()), pairs),
        }
        return Loss(loss_R.sum(), metrics)
