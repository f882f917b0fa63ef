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
from ethos.training.logprobs import Direction, TeacherStates, Term, divergences, summed, target_logprobs


class Outputs:
    """Log-probabilities of targets alone, as a model gives them that we can't look into."""

    def __init__(self, logprobs_M: Tensor) -> None:
        self._logprobs_M = logprobs_M

    @property
    def logprobs_M(self) -> Tensor:
        """Log p(target), fp32, differentiable."""
        return self._logprobs_M

    def summed(self, term: Term) -> tuple[Tensor, Tensor]:
        """The sum over targets of what each adds by its log-probability alone, a scalar: cheaper than by `logprobs_M`.

        And those log-probabilities, without a gradient.
        """
        return term(self.logprobs_M, slice(None)).sum(), self.logprobs_M.detach()

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

    def summed(self, term: Term) -> tuple[Tensor, Tensor]:
        """As in `Outputs`."""
        return summed(self.hidden_ME, self._head_VE, self._batch.targets_M, term)

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
