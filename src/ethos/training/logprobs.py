"""What losses need of the vocabulary's distribution, in chunks that never hold logits of the whole batch.

A target's own logit is computed in fp32 from the hidden state, as in scoring: bf16 logits of 16 to 32 lie 0.125 apart.
Shapes: `M` targets, `E` model width, `V` vocabulary; `A` the teacher's width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ethos.models import kernels

CHUNK = 512

Direction = Literal["reverse", "forward"]


def target_logprobs(hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor) -> Tensor:
    """Log p(target) for each row of hidden states, fp32, shape [M]; differentiable in both inputs.

    The backward pass computes each chunk's logits anew: one more product with the output matrix, in exchange for memory
    that doesn't grow with the vocabulary.
    """
    result: Tensor = _TargetLogprobs.apply(hidden_ME, weight_VE, targets_M)  # type: ignore[no-untyped-call]
    return result


Term = Callable[[Tensor, slice], Tensor]
"""What each target adds to a loss, by its log-probability alone, for those targets that the slice names: [n] to [n]."""


def summed(hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor, term: Term) -> tuple[Tensor, Tensor]:
    """The sum over targets of a function of log p(target), a scalar that is differentiable in the first two inputs.

    And the log-probabilities themselves, shape [M], which are not. A chunk's gradient is computed with its logits,
    which are never needed again: one product with the output matrix less than by `target_logprobs`.
    """
    found: tuple[Tensor, Tensor] = _Summed.apply(hidden_ME, weight_VE, targets_M, term)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True, slots=True)
class TeacherStates:
    """A teacher's hidden states where the student's targets are predicted, and the output matrix that reads them."""

    hidden_MA: Tensor
    weight_VA: Tensor


def divergences(hidden_ME: Tensor, weight_VE: Tensor, teacher: TeacherStates, direction: Direction) -> Tensor:
    """KL divergence between student and teacher at each target, over the whole vocabulary, fp32, shape [M].

    `reverse` is KL(student || teacher), `forward` KL(teacher || student). Differentiable in the first two inputs.
    Where one vocabulary is padded to a larger size than the other, what only one of them has is left out.
    """
    result: Tensor = _Divergences.apply(  # type: ignore[no-untyped-call]
        hidden_ME, weight_VE, teacher.hidden_MA, teacher.weight_VA, direction
    )
    return result


def _chunks(size: int) -> Iterator[slice]:
    """What is computed of a chunk stays within a function: a loop's variables would live on into the next one's."""
    for start in range(0, size, CHUNK):
        yield slice(start, min(size, start + CHUNK))


def _normalisers(logits_MV: Tensor) -> Tensor:
    """Log of the sum of each row's exponentials, fp32."""
    return kernels.log_sum_exp(logits_MV) if kernels.can_take(logits_MV) else logits_MV.float().logsumexp(dim=-1)


def _chosen(hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor) -> Tensor:
    return (hidden_ME.float() * weight_VE[targets_M].float()).sum(dim=-1)


class _Gradients:
    """Of the hidden states and of the output matrix, filled chunk by chunk; those that nobody wants stay None."""

    def __init__(self, hidden_ME: Tensor, weight_VE: Tensor, wanted: tuple[bool, ...]) -> None:
        self._hidden, self._weight = hidden_ME, weight_VE
        self.hidden_ME = torch.empty_like(hidden_ME) if wanted[0] else None
        self.weight_VE = torch.zeros_like(weight_VE, dtype=torch.float32) if wanted[1] else None

    def add(self, piece: slice, logits_MV: Tensor) -> None:
        """Takes the gradient of a chunk's logits."""
        logits_MV = logits_MV.to(self._weight.dtype)
        if self.hidden_ME is not None:
            self.hidden_ME[piece] = logits_MV @ self._weight[: logits_MV.shape[1]]
        if self.weight_VE is not None:
            self.weight_VE[: logits_MV.shape[1]] += logits_MV.T @ self._hidden[piece]

    def both(self, scale: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Times a scalar, in the dtypes of what they are the gradients of."""
        found = []
        for gradient, of in ((self.hidden_ME, self._hidden), (self.weight_VE, self._weight)):
            if gradient is not None and scale is not None:
                gradient = gradient.mul_(scale)
            found.append(None if gradient is None else gradient.to(of.dtype))
        return found[0], found[1]


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor) -> Tensor:
        parts = [_normalisers(hidden_ME[piece] @ weight_VE.T) for piece in _chunks(len(targets_M))]
        normalisers_M = torch.cat(parts)
        ctx.save_for_backward(hidden_ME, weight_VE, targets_M, normalisers_M)
        return _chosen(hidden_ME, weight_VE, targets_M) - normalisers_M

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_ME, weight_VE, targets_M, normalisers_M = ctx.saved_tensors
        found = _Gradients(hidden_ME, weight_VE, ctx.needs_input_grad)
        for piece in _chunks(len(targets_M)):
            logits_MV = hidden_ME[piece] @ weight_VE.T
            found.add(piece, _by_logits(logits_MV, normalisers_M[piece], targets_M[piece], gradients[0][piece]))
        return *found.both(), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ME: Tensor, weight_VE: Tensor, targets_M: Tensor, term: Term) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad
        ctx.found = _Gradients(hidden_ME, weight_VE, wanted)
        logprobs_M = _chosen(hidden_ME, weight_VE, targets_M)
        total = logprobs_M.new_zeros(())

        def add(piece: slice) -> None:
            logits_MV = hidden_ME[piece] @ weight_VE.T
            normalisers_M = _normalisers(logits_MV)
            logprobs_M[piece] -= normalisers_M
            value, weights_M = _with_gradient(term, logprobs_M[piece], piece)
            total.add_(value)
            if wanted[0] or wanted[1]:
                ctx.found.add(piece, _by_logits(logits_MV, normalisers_M, targets_M[piece], weights_M))

        for piece in _chunks(len(targets_M)):
            add(piece)
        ctx.mark_non_differentiable(logprobs_M)
        return total, logprobs_M

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None, None]:
        both = ctx.found.both(gradients[0])
        del ctx.found
        return *both, None, None


def _with_gradient(term: Term, logprobs_M: Tensor, piece: slice) -> tuple[Tensor, Tensor]:
    """The term's sum, and its derivative by each log-probability."""
    with torch.enable_grad():
        given_M = logprobs_M.detach().requires_grad_()
        value = term(given_M, piece).sum()
    return value.detach(), torch.autograd.grad(value, given_M)[0]


def _by_logits(logits_MV: Tensor, normalisers_M: Tensor, targets_M: Tensor, weights_M: Tensor) -> Tensor:
    """The gradient of weight x log p(target) by the logits: weight x (onehot - p). Overwrites the logits."""
    if kernels.can_take(logits_MV):
        return kernels.by_logits(logits_MV, normalisers_M, targets_M, weights_M)
    gradient_MV = logits_MV.float().sub_(normalisers_M[:, None]).exp_().neg_()
    rows = torch.arange(len(targets_M), device=targets_M.device)
    gradient_MV[rows, targets_M] += 1
    return gradient_MV.mul_(weights_M[:, None])


class _Divergences(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ME: Tensor, weight_VE: Tensor, teacher_MA: Tensor, teacher_VA: Tensor, direction: Direction
    ) -> Tensor:
        ctx.save_for_backward(hidden_ME, weight_VE, teacher_MA, teacher_VA)
        ctx.direction = direction

        def divergence(piece: slice) -> Tensor:
            student_MV, own_MV = _both(hidden_ME[piece], weight_VE, teacher_MA[piece], teacher_VA)
            weights_MV = (student_MV if direction == "reverse" else own_MV).exp()
            difference_MV = student_MV.sub_(own_MV) if direction == "reverse" else own_MV.sub_(student_MV)
            return weights_MV.mul_(difference_MV).sum(dim=-1)

        return torch.cat([divergence(piece) for piece in _chunks(len(hidden_ME))])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden_ME, weight_VE, teacher_MA, teacher_VA = ctx.saved_tensors
        found = _Gradients(hidden_ME, weight_VE, ctx.needs_input_grad)

        def of_logits(piece: slice) -> Tensor:
            student_MV, own_MV = _both(hidden_ME[piece], weight_VE, teacher_MA[piece], teacher_VA)
            p_MV = student_MV.exp()
            if ctx.direction == "reverse":  # d KL(p||q) / d logits = p (log p - log q - KL)
                difference_MV = student_MV.sub_(own_MV)
                divergence_M1 = (p_MV * difference_MV).sum(dim=-1, keepdim=True)
                logits_MV = difference_MV.sub_(divergence_M1).mul_(p_MV)
            else:  # d KL(q||p) / d logits = p - q
                logits_MV = p_MV.sub_(own_MV.exp_())
            return logits_MV.mul_(gradients[0][piece, None])

        for piece in _chunks(len(hidden_ME)):
            found.add(piece, of_logits(piece))
        return *found.both(), None, None, None


def _both(hidden_ME: Tensor, weight_VE: Tensor, teacher_MA: Tensor, teacher_VA: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of student and teacher over the vocabulary that they share, fp32, shape [M, V]."""
    shared = min(weight_VE.shape[0], teacher_VA.shape[0])
    student_MV = (hidden_ME @ weight_VE[:shared].T).float().log_softmax(dim=-1)
    return student_MV, (teacher_MA @ teacher_VA[:shared].T).float().log_softmax(dim=-1)
