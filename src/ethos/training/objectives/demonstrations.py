"""`demonstrations`: loss on the assistant's last turn only.

    L = - sum over t in reply of log p(x_t | x_<t)        unit: token

Supervised fine-tuning with the prompt masked (Ouyang et al. 2022, section 3.5), through the model's own chat template
with the system message that the run has chosen. The end-of-turn token is a target.
"""

from __future__ import annotations

from collections.abc import Sequence

from ethos.models.templates import ChatTemplate
from ethos.store.rows import DemonstrationRow, Row
from ethos.training.batch import Batch, TokenRow
from ethos.training.objectives.types import Loss, Outputs, Unit


class Demonstrations:
    """The reply's tokens are the targets."""

    name = "demonstrations"
    unit: Unit = "token"

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> list[TokenRow]:
        """Tokens of each conversation; one longer than the context is left out."""
        prepared = []
        for row in rows:
            if isinstance(row, DemonstrationRow):
                rendered = template.row(row.conversation)
                if len(rendered.tokens) <= limit_tokens:
                    prepared.append(TokenRow(row.id, rendered.tokens, rendered.target_start))
        return prepared

    def units(self, batch: Batch) -> int:
        """Target tokens."""
        return int(batch.targets_M.shape[0])

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Negative log-likelihood, summed."""
        return Loss(-outputs.logprobs_M.sum())
