"""How many tokens fit a micro-batch, given the memory that its activations may take.

Measured, not guessed: what one row of the student leaves behind for its backward pass is counted, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ethos.errors import EthosError
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import pack, single
from ethos.training.logprobs import CHUNK
from ethos.training.policy import Policy

_PROBE_TOKENS = 128


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How training is cut to its memory."""

    micro_batch_tokens: int
    checkpointing: bool


def plan_memory(policy: Policy, config: TrainingConfig, largest_row_tokens: int) -> MemoryPlan:
    """The largest micro-batch that `training.memory_gib` allows, with checkpointing only if it has to be.

    Without a budget it is `training.micro_batch_tokens`, and nothing is computed twice.

    Raises:
        EthosError: if the largest row that can't be taken apart doesn't fit.
    """
    if config.memory_gib is None:
        return MemoryPlan(config.micro_batch_tokens, checkpointing=False)
    budget = config.memory_gib * 2**30 - _head_bytes(policy)
    plain = bytes_per_token(policy)
    if budget >= plain * largest_row_tokens:
        return MemoryPlan(min(config.micro_batch_tokens, int(budget / plain)), checkpointing=False)
    checkpointed = plain if policy.forward is None else _checkpointed(policy, plain)
    if budget >= checkpointed * largest_row_tokens:
        return MemoryPlan(min(config.micro_batch_tokens, int(budget / checkpointed)), checkpointing=True)
    needed = (checkpointed * largest_row_tokens + _head_bytes(policy)) / 2**30
    raise EthosError(
        f"training.memory_gib: {config.memory_gib:g} GiB don't hold the activations of one row of "
        f"{largest_row_tokens} tokens, which take {needed:.2f} GiB even if they are computed twice; "
        "raise it, or lower training.context_tokens"
    )


def bytes_per_token(policy: Policy, *, checkpointing: bool = False) -> float:
    """What a token of one row leaves behind until the backward pass, up to the output matrix."""
    [batch] = pack([single("probe", [0] * _PROBE_TOKENS, _PROBE_TOKENS - 1)], _PROBE_TOKENS)
    before, policy.checkpointing = policy.checkpointing, checkpointing
    try:
        with _counted() as kept:
            whole = policy.outputs(batch).logprobs_M
    finally:
        policy.checkpointing = before
    assert whole.requires_grad, "what is measured is what a backward pass needs"
    parameters = {tensor.untyped_storage().data_ptr() for tensor in policy.model.state_dict().values()}
    return sum(size for pointer, size in kept.items() if pointer not in parameters) / _PROBE_TOKENS


def _checkpointed(policy: Policy, plain: float) -> float:
    """What enters the blocks, and all of the block that is being computed again."""
    assert policy.forward is not None
    return bytes_per_token(policy, checkpointing=True) + plain / len(policy.forward.layers)


@contextmanager
def _counted() -> Iterator[dict[int, int]]:
    """Sizes of what is saved for backward passes meanwhile, each storage once."""
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no storage is given to another tensor while it is counted

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield kept


def _head_bytes(policy: Policy) -> float:
    """A chunk of logits and their gradient in fp32, and the output matrix's own gradient."""
    if policy.forward is None:
        return 0.0
    vocabulary, width = policy.forward.head.weight_OE.shape
    return 8.0 * CHUNK * vocabulary + 4.0 * vocabulary * width
