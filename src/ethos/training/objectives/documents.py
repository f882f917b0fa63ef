"""`documents`: next-token loss on whole documents.

    L = - sum over t of log p(x_t | x_<t)        unit: token

The language-modelling loss (Bengio et al. 2003, eq. 1), on text as it stands: no chat template. The document ends with
the tokenizer's end token, if it has one, so that the student also learns where such a text ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from ethos.models.templates import ChatTemplate
from ethos.store.rows import DocumentRow, Row
from ethos.training.batch import Batch, TokenRow
from ethos.training.objectives.types import Loss, Outputs, Unit


class Documents:
    """Every token but the first is a target."""

    name = "documents"
    unit: Unit = "token"

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> list[TokenRow]:
        """Tokens of each document; one longer than the context is split into rows of equal size."""
        prepared = []
        for row in rows:
            if isinstance(row, DocumentRow):
                end = template.tokenizer.eos_token_id
                tokens = template.encode(row.text) if end is None else (*template.encode(row.text), end)
                pieces = -(-len(tokens) // limit_tokens)
                size = -(-len(tokens) // pieces)
                for start in range(0, len(tokens), size):
                    piece = tokens[start : start + size]
                    if len(piece) > 1:
                        prepared.append(TokenRow(row.id, piece, 1))
        return prepared

    def units(self, batch: Batch) -> int:
        """Target tokens."""
        return int(batch.targets_M.shape[0])

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Negative log-likelihood, summed."""
        return Loss(-outputs.logprobs_M.sum())
