"""`rewards`: replies that the policy drew itself become likelier by how much better than their group they were.

With ρ_t = π(y_t) / π_sampled(y_t), advantage A of the reply (`training/advantages.py`), and clip bounds ε:

    grpo   L_t = - min(ρ_t A, clip(ρ_t, 1 - ε_low, 1 + ε_high) A) + kl_coefficient × KL_t
           k3         KL_t = π_ref(y_t) / π(y_t) - log(π_ref(y_t) / π(y_t)) - 1
           unbiased   KL_t = ρ_t × k3
           unit: token, or sequence (each reply's mean over its tokens)
    rloo   L = - min(ρ A, clip(ρ, 1 - ε_low, 1 + ε_high) A), ρ the product of the ρ_t        unit: sequence

GRPO is Shao et al. 2024 (eq. 3 and 4); `token` and the two bounds are from Yu et al. 2025 (DAPO, eq. 10). The estimator
k3 is Schulman's (2020); weighed by the ratio its gradient is that of the reverse KL (DeepSeek-V3.2, 2025, section 3.1).
RLOO is Ahmadian et al. 2024 (eq. 8), whose KL is part of the reward, clipped as in TRL. Replies are drawn at
temperature 1 from the whole distribution: anything else would train another policy than the one that drew them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ethos.models.templates import ChatTemplate
from ethos.store.rows import Row, TaskRow
from ethos.training.batch import Batch
from ethos.training.objectives.prompts import prepare_prompts
from ethos.training.objectives.tokenised import Tokenised
from ethos.training.objectives.types import Loss, Mean, Need, Unit
from ethos.training.outputs import Outputs

SAMPLING, REFERENCE, ADVANTAGE = "sampling_logprobs", "reference_logprobs", "advantage"
"""Signals: a target's log-probability when it was drawn and under the reference; a completion's advantage."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Replies of the policy's own, with the hyperparameters of their loss.

    `ratio_to` says what ρ is measured against: the log-probabilities that replies were drawn with, or the trainer's own
    of the same step, where the policy that drew is known to be the one that is trained. The two differ by rounding
    alone, which over a long reply in bf16 would be clipped as if the policy had moved.
    """

    name: ClassVar[str] = "rewards"

    estimator: Literal["grpo", "rloo"] = "grpo"
    normalise: Literal["token", "sequence"] = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coefficient: float = 0.0
    kl_estimator: Literal["k3", "unbiased"] = "unbiased"
    ratio_to: Literal["sampler", "trainer"] = "sampler"

    @property
    def unit(self) -> Unit:
        """Sequences for RLOO, whose ratio is that of a whole reply."""
        return "token" if self._by_token else "sequence"

    @property
    def needs(self) -> frozenset[Need]:
        """The reference only where a divergence from it counts."""
        own: frozenset[Need] = frozenset({"replies", "rewards"})
        return own | {"reference"} if self.kl_coefficient else own

    @property
    def signals(self) -> tuple[str, ...]:
        """RLOO's divergence is a reward, and in the advantage already."""
        by_the_loss = self.estimator == "grpo" and self.kl_coefficient
        return (SAMPLING, ADVANTAGE, REFERENCE) if by_the_loss else (SAMPLING, ADVANTAGE)

    @property
    def _by_token(self) -> bool:
        return self.estimator == "grpo" and self.normalise == "token"

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Each prompt with nothing after it: replies are yet to be drawn."""
        return prepare_prompts((row for row in rows if isinstance(row, TaskRow)), template, limit_tokens)

    def units(self, batch: Batch) -> int:
        """Target tokens, or replies."""
        return int(batch.targets_M.shape[0]) if self._by_token else batch.completions

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Summed over tokens, or over replies."""
        if self.estimator == "rloo" and self.ratio_to == "sampler":
            return self._of_whole_replies(outputs, batch)
        advantage_M = batch.signals[ADVANTAGE][batch.completions_M]
        part_M = torch.ones_like(advantage_M)
        if self.estimator == "grpo" and self.normalise == "sequence":
            part_M = 1 / batch.targets_by_completion()[batch.completions_M]

        def terms(logprobs_M: Tensor, piece: slice) -> tuple[Tensor, Tensor, Tensor]:
            """The surrogate, where it is clipped, and the divergence, of the targets of a piece."""
            drawn_M = logprobs_M.detach() if self.ratio_to == "trainer" else batch.signals[SAMPLING][piece]
            log_ratio_M = logprobs_M - drawn_M
            loss_M, clipped_M = self._clipped(log_ratio_M, advantage_M[piece])
            if REFERENCE not in self.signals:
                return loss_M, clipped_M, torch.zeros_like(loss_M)
            kl_M = _k3(logprobs_M, batch.signals[REFERENCE][piece])
            return loss_M, clipped_M, kl_M * log_ratio_M.exp() if self.kl_estimator == "unbiased" else kl_M

        def term(logprobs_M: Tensor, piece: slice) -> Tensor:
            loss_M, _, kl_M = terms(logprobs_M, piece)
            return (loss_M + self.kl_coefficient * kl_M) * part_M[piece]

        total, now_M = outputs.summed(term)
        if self.estimator == "rloo":  # each token's ρ is 1, as the whole reply's is, whose loss counts once
            total = total + advantage_M.sum() - batch.signals[ADVANTAGE].sum()
        _, clipped_M, kl_M = terms(now_M, slice(None))
        metrics = _watched(now_M - batch.signals[SAMPLING], clipped_M)
        if REFERENCE in self.signals:
            metrics["kl"] = Mean(float(kl_M.sum()), len(kl_M))
        return Loss(total, metrics)

    def _of_whole_replies(self, outputs: Outputs, batch: Batch) -> Loss:
        """A ratio of whole replies doesn't come apart into terms of one token each."""
        gap_M = outputs.logprobs_M - batch.signals[SAMPLING]
        loss_C, clipped_C = self._clipped(batch.sum_by_completion(gap_M), batch.signals[ADVANTAGE])
        return Loss(loss_C.sum(), _watched(gap_M.detach(), clipped_C))

    def _clipped(self, log_ratio: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """The clipped surrogate (Schulman et al. 2017, eq. 7), and where clipping stopped the gradient."""
        ratio = log_ratio.exp()
        bounded = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        stopped = (ratio > 1 + self.clip_high) & (advantage > 0) | (ratio < 1 - self.clip_low) & (advantage < 0)
        return -torch.min(ratio * advantage, bounded * advantage), stopped


def _k3(logprobs_M: Tensor, reference_M: Tensor) -> Tensor:
    difference_M = reference_M - logprobs_M
    return difference_M.exp() - difference_M - 1


def _watched(gap_M: Tensor, clipped: Tensor) -> dict[str, Mean]:
    """How far the policy is from the one that sampled, and how much of the gradient is clipped away."""
    return {
        "sampling_gap": Mean(float(gap_M.abs().sum()), len(gap_M)),
        "clipped": Mean(float(clipped.sum()), len(clipped)),
    }
