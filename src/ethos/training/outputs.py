"""What a policy gives a loss: computed when it is first asked for, and once.

Shapes: `M` targets, `C` completions, `N` flat tokens, `E` model width.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward
from ethos.models.attention import PackedAttention
from ethos.models.fallback import logprobs_padded
from ethos.training.batch import Batch
from ethos.training.logprobs import Direction, TeacherStates, divergences, target_logprobs, weighted_logprob_sum


class Outputs:
    """Log-probabilities of targets alone, as a model gives them that we can't look into."""

    def __init__(self, logprobs_M: Tensor) -> None:
        self._logprobs_M = logprobs_M

    @property
    def logprobs_M(self) -> Tensor:
        """Log p(target), fp32, differentiable."""
        return self._logprobs_M

    def weighted_logprob_sum(self, weights_M: Tensor) -> Tensor:
        """Sum of weight x log p(target), a scalar: cheaper than by `logprobs_M`, as the weights need no gradient."""
        return (weights_M * self.logprobs_M).sum()

    @property
    def values_C(self) -> Tensor:
        """The scalar head's output at each completion's last token, fp32. Raises EthosError if there is no such head"""
        raise EthosError("this policy has no scalar head; a reward model is trained by a policy that was given one")

    def divergences_M(self, teacher: TeacherStates, direction: Direction) -> Tensor:
        """KL divergence from or to the teacher at each target, fp32. Raises EthosError for a model of unknown shape."""
        raise EthosError(
            "distillation reads hidden states, which only models of a known shape give; "
            "set mixture.distillation to 0, or name a Llama- or Qwen-shaped student"
        )


class HiddenOutputs(Outputs):
    """Of a policy whose hidden states are at hand."""

    def __init__(self, batch: Batch, hidden_NE: Tensor, head_VE: Tensor, scalar_head_E: Tensor | None) -> None:
        self._batch, self._hidden_NE, self._head_VE, self._scalar_head_E = batch, hidden_NE, head_VE, scalar_head_E

    @cached_property
    def hidden_ME(self) -> Tensor:
        """Hidden states that predict the targets: what a teacher gives, under `torch.no_grad`."""
        return self._hidden_NE[self._batch.sources_M]

    @cached_property
    def logprobs_M(self) -> Tensor:
        """As in `Outputs`."""
        return target_logprobs(self.hidden_ME, self._head_VE, self._batch.targets_M)

    def weighted_logprob_sum(self, weights_M: Tensor) -> Tensor:
        """As in `Outputs`."""
        return weighted_logprob_sum(self.hidden_ME, self._head_VE, self._batch.targets_M, weights_M)

    @cached_property
    def values_C(self) -> Tensor:
        """As in `Outputs`."""
        if self._scalar_head_E is None:
            return super().values_C
        return self._hidden_NE[self._batch.lasts_C].float() @ self._scalar_head_E.float()

    def divergences_M(self, teacher: TeacherStates, direction: Direction) -> Tensor:
        """As in `Outputs`."""
        return divergences(self.hidden_ME, self._head_VE, teacher, direction)


def outputs_of(
    model: Any,
    forward: CausalForward | None,
    batch: Batch,
    scalar_head_E: Tensor | None = None,
    *,
    recomputed: int = 0,
) -> HiddenOutputs | Outputs:
    """What a model gives for a batch, by its functional forward, or by its own where there is none.

    `recomputed` blocks trade time for memory in the functional forward; the model's own never does.
    """
    if forward is None:
        batch = batch.to(next(model.parameters()).device)
        return Outputs(logprobs_padded(model, batch.tokens_N, batch.spans, batch.sources_M, batch.targets_M))
    batch = batch.to(forward.device)
    attend = PackedAttention(batch.spans, forward.device)
    hidden_NE = forward.hidden(batch.tokens_N, batch.positions_N, attend, recomputed=recomputed)
    return HiddenOutputs(batch, hidden_NE, forward.head.weight_OE, scalar_head_E)
