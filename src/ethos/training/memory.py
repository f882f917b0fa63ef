"""How many tokens fit a micro-batch, given the memory that its activations may take.

Measured, not guessed: what one row of the student leaves behind for its backward pass is counted, tensor by tensor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ethos.errors import EthosError
from ethos.models import kernels
from ethos.models.causal_attention import SHORT_TOKENS
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import Completion, RowSize, TokenRow, one_batch, single
from ethos.training.logprobs import CHUNK
from ethos.training.policy import Policy

_SHORT_PROBE, _LONG_PROBE = 128, SHORT_TOKENS + 128  # attention keeps other things of rows past SHORT_TOKENS
_ENTRY_BYTES, _DISTILLED_ENTRY_BYTES = 8.0, 16.0  # of a chunk's logits at the peak: two, or four, of them in fp32
_COMPILED_ENTRY_BYTES = 2.0  # one in bf16, which compiled functions overwrite
_SHARING = 4  # completions of the probe with a shared prompt


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How training is cut to its memory."""

    micro_batch_tokens: int
    recomputed: int = 0  # of the first blocks, those that are computed again in the backward pass
    repeat_cost: float = 0.0  # as in `pack`


def plan_memory(
    policy: Policy, config: TrainingConfig, sizes: Collection[RowSize], objectives: Collection[str] = ()
) -> MemoryPlan:
    """The largest micro-batch that `training.memory_gib` allows, with as few blocks computed twice as have to be.

    Without a budget it is `training.micro_batch_tokens`, and nothing is computed twice. `sizes` are those of what can't
    be taken apart: pairs, and single sequences. `objectives` are the names of those that may be trained: distillation
    holds a teacher's logits beside the student's.

    Raises:
        EthosError: if the largest doesn't fit.
    """
    if config.memory_gib is None:
        return MemoryPlan(config.micro_batch_tokens)
    head = _head_bytes(policy, _DISTILLED_ENTRY_BYTES if "distillation" in objectives else _entry_bytes(policy))
    budget = config.memory_gib * 2**30 - head
    longest = max((size.longest for size in sizes), default=0)
    length = _SHORT_PROBE if longest <= SHORT_TOKENS else _LONG_PROBE

    def plan(recomputed: int) -> tuple[MemoryPlan, float]:
        """And by how much the largest row is over the budget."""
        alone, repeated = costs(policy, length, recomputed)
        tokens, repeat_cost = min(config.micro_batch_tokens, int(max(0.0, budget) / alone)), round(repeated / alone, 3)
        largest = max((size.cost(repeat_cost) for size in sizes), default=0.0)
        return MemoryPlan(tokens, recomputed, repeat_cost), alone * largest - budget

    least, over = plan(0)
    # the last block keeps what it has: that much is given back before another is computed again, and taken for it
    most = 0 if policy.forward is None else len(policy.forward.layers) - 1
    if over <= 0:
        return least
    smallest, still_over = plan(most)
    if still_over > 0:
        raise EthosError(
            f"training.memory_gib: {config.memory_gib:g} GiB don't hold the activations of one row of up to "
            f"{max(size.tokens for size in sizes)} tokens, which take {(still_over + budget + head) / 2**30:.2g} GiB "
            "even if they are computed twice; raise it, or lower training.context_tokens"
        )
    # each block saves as much as another
    recomputed = math.ceil(most * over / (over - still_over))
    return smallest if recomputed >= most else plan(recomputed)[0]


def costs(policy: Policy, length: int, recomputed: int = 0) -> tuple[float, float]:
    """Bytes that a token leaves behind until the backward pass, up to the output matrix: one that is computed, and one
    of a shared prompt for each time that attention lays it out again.
    """
    prompt, reply = 3 * length // 4, length // 4 // _SHARING
    alone = single("probe", [0] * length, length - 1)
    shared = TokenRow("probe", (0,) * prompt, tuple(Completion((0,) * reply) for _ in range(_SHARING)))
    each = _kept_bytes(policy, alone, recomputed) / alone.tokens
    if policy.forward is None:  # it computes what is shared in each sequence
        return each, each
    more = _kept_bytes(policy, shared, recomputed) - each * shared.tokens
    return each, max(0.0, more / (shared.size.laid_out - shared.tokens))


def _kept_bytes(policy: Policy, row: TokenRow, recomputed: int) -> float:
    before, policy.recomputed = policy.recomputed, recomputed
    try:
        with _counted() as kept:
            whole = policy.outputs(one_batch([row])).logprobs_M
    finally:
        policy.recomputed = before
    assert whole.requires_grad, "what is measured is what a backward pass needs"
    parameters = {tensor.untyped_storage().data_ptr() for tensor in policy.model.state_dict().values()}
    return float(sum(size for pointer, size in kept.items() if pointer not in parameters))


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


@torch.no_grad()
def _entry_bytes(policy: Policy) -> float:
    is_compiled = policy.forward is not None and kernels.can_take(policy.forward.head.weight_OE)
    return _COMPILED_ENTRY_BYTES if is_compiled else _ENTRY_BYTES


def _head_bytes(policy: Policy, entry_bytes: float) -> float:
    """A chunk of logits with all that is computed from them, and where the output matrix is trained its own gradient
    in fp32 with a chunk's part of it.
    """
    if policy.forward is None:
        return 0.0
    weight = policy.forward.head.weight_OE
    own = (4.0 + weight.element_size()) * weight.numel() if policy.config.method == "full" else 0.0
    return entry_bytes * CHUNK * weight.shape[0] + own
