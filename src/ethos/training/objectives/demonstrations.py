"""`demonstrations`: loss on what the assistant says, in its last turn or in all of them.

    L = - sum over t in replies of log p(x_t | x_<t)        unit: token

Supervised fine-tuning with the prompt masked (Ouyang et al. 2022, section 3.5), through the model's own chat template
with the system message that the run has chosen. The end-of-turn token is a target; what users and tools say never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ethos.models.templates import ChatTemplate, Turns
from ethos.store.rows import DemonstrationRow, Row
from ethos.training.batch import Batch, TokenRow
from ethos.training.objectives.likelihood import negative_log_likelihood
from ethos.training.objectives.tokenised import Tokenised, reply_tokens, tokenise
from ethos.training.objectives.types import NO_NEEDS, Loss, Need, Unit
from ethos.training.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The assistant's tokens are the targets."""

    name: ClassVar[str] = "demonstrations"
    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = NO_NEEDS
    signals: ClassVar[tuple[str, ...]] = ()

    turns: Turns = "last"

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Tokens of each conversation."""

        def tokens(row: DemonstrationRow) -> TokenRow:
            prompt, completion = reply_tokens(template, row.conversation, self.turns)
            return TokenRow(row.id, prompt, (completion,))

        return tokenise((row for row in rows if isinstance(row, DemonstrationRow)), limit_tokens, tokens)

    def units(self, batch: Batch) -> int:
        """Target tokens."""
        return int(batch.targets_M.shape[0])

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Negative log-likelihood, summed."""
        return negative_log_likelihood(outputs)
