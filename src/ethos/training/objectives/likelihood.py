"""What `documents` and `demonstrations` have in common: the loss. They differ in which tokens are targets."""

from __future__ import annotations

import torch

from ethos.training.batch import Batch
from ethos.training.objectives.types import Loss
from ethos.training.outputs import Outputs


def negative_log_likelihood(outputs: Outputs, batch: Batch) -> Loss:
    """- sum over targets of log p(x_t | x_<t)."""
    return Loss(outputs.weighted_logprob_sum(-torch.ones(batch.targets_M.shape[0], device=batch.targets_M.device)))
