"""`distillation`: at each token of its own replies the policy's distribution moves towards a teacher's.

    reverse   L_t = KL( π(·|y_<t) || q(·|y_<t) )
    forward   L_t = KL( q(·|y_<t) || π(·|y_<t) )        unit: token

over the whole vocabulary, on replies that the policy drew: on-policy distillation (Agarwal et al. 2024, eq. 3, with
λ = 1; reverse KL as in Gu et al. 2024). The teacher q is a larger model with the same tokenizer, or the same model with
the frame in its prompt: context distillation (Askell et al. 2021, section 2.3). As in both, the gradient doesn't run
through the sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ethos.models.templates import ChatTemplate
from ethos.store.rows import Row, TaskRow
from ethos.training.batch import Batch
from ethos.training.logprobs import Direction
from ethos.training.objectives.prompts import prepare_prompts
from ethos.training.objectives.tokenised import Tokenised
from ethos.training.objectives.types import Loss, Need, Unit
from ethos.training.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Distillation:
    """Needs `Batch.teacher`, which `training/frozen.py` computes."""

    name: ClassVar[str] = "distillation"
    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = frozenset({"replies", "teacher"})
    signals: ClassVar[tuple[str, ...]] = ()

    direction: Direction = "reverse"

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Each prompt with nothing after it, and what the teacher sees in its place."""
        return prepare_prompts(
            (row for row in rows if isinstance(row, TaskRow)), template, limit_tokens, for_teacher=True
        )

    def units(self, batch: Batch) -> int:
        """Target tokens."""
        return int(batch.targets_M.shape[0])

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Summed over tokens."""
        if batch.teacher is None:
            raise ValueError("distillation needs the teacher's hidden states: see training/frozen.py")
        return Loss(outputs.divergences_M(batch.teacher, self.direction).sum())
