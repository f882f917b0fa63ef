"""What `documents` and `demonstrations` have in common: the loss. They differ in which tokens are targets."""

from __future__ import annotations

from ethos.training.objectives.types import Loss
from ethos.training.outputs import Outputs


def negative_log_likelihood(outputs: Outputs) -> Loss:
    """- sum over targets of log p(x_t | x_<t)."""
    total, _ = outputs.summed(lambda logprobs_M, piece: -logprobs_M)
    return Loss(total)
