"""What a model that is not trained says of a batch: a reference's log-probabilities, a teacher's hidden states.

It is asked through the very code that the policy is trained with, so that a policy which has not moved has a ratio of
1 and a divergence of 0: in fp32 to the bit, in bf16 up to the rounding of an engine's packed weights. Shapes: `M`
targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward
from ethos.training.batch import Batch, Completion, TokenRow, pack
from ethos.training.logprobs import TeacherStates
from ethos.training.outputs import HiddenOutputs, outputs_of


@dataclass(frozen=True, slots=True)
class FrozenModel:
    """A model, and its functional forward if it has one: those of an engine, for example."""

    model: Any
    forward: CausalForward | None

    @torch.no_grad()
    def logprobs(self, rows: Sequence[TokenRow], micro_batch_tokens: int) -> list[list[tuple[float, ...]]]:
        """Of each row's completions the log-probability of each target."""
        flat: list[float] = []
        for batch in pack(rows, micro_batch_tokens):
            flat.extend(outputs_of(self.model, self.forward, batch).logprobs_M.tolist())
        values = iter(flat)
        return [
            [tuple(next(values) for _ in range(completion.targets)) for completion in row.completions] for row in rows
        ]

    @torch.no_grad()
    def teach(self, batch: Batch, micro_batch_tokens: int) -> Batch:
        """The batch with this model's hidden states, as a teacher that sees its own prompt in the row's place.

        Such a prompt may be much longer, so that it takes several micro-batches to teach one.

        Raises EthosError for a model of unknown shape.
        """
        rows = [row if row.teacher_prompt is None else replace(row, prompt=row.teacher_prompt) for row in batch.rows]
        if self.forward is None:
            raise EthosError("a teacher of distillation is read by its hidden states; name a Llama- or Qwen-shaped one")
        found = [outputs_of(self.model, self.forward, part) for part in pack(rows, micro_batch_tokens)]
        hidden_MA = torch.cat([outputs.hidden_ME for outputs in found if isinstance(outputs, HiddenOutputs)])
        return replace(batch, teacher=TeacherStates(hidden_MA, self.forward.head.weight_OE))


def with_signal(row: TokenRow, name: str, values: Sequence[float | tuple[float, ...]]) -> TokenRow:
    """The row with one more signal on each of its completions."""
    completions = tuple(
        Completion(completion.tokens, completion.mask, {**completion.signals, name: value})
        for completion, value in zip(row.completions, values, strict=True)
    )
    return replace(row, completions=completions)
