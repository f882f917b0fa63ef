"""`documents`: next-token loss on whole documents.

    L = - sum over t of log p(x_t | x_<t)        unit: token

The language-modelling loss (Bengio et al. 2003, eq. 1), on text as it stands: no chat template. The document ends with
the tokenizer's end token, if it has one, so that the student also learns where such a text ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ethos.models.templates import ChatTemplate
from ethos.store.rows import DocumentRow, Row
from ethos.training.batch import Batch, single
from ethos.training.objectives.likelihood import negative_log_likelihood
from ethos.training.objectives.tokenised import EMPTY, Tokenised
from ethos.training.objectives.types import NO_NEEDS, Loss, Need, Unit
from ethos.training.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Documents:
    """Every token but the first is a target."""

    name: ClassVar[str] = "documents"
    unit: ClassVar[Unit] = "token"
    needs: ClassVar[frozenset[Need]] = NO_NEEDS
    signals: ClassVar[tuple[str, ...]] = ()

    def prepare(self, rows: Sequence[Row], template: ChatTemplate, limit_tokens: int) -> Tokenised:
        """Tokens of each document, begun and ended as the model's tokenizer has it.

        One longer than the context is split into rows of equal size.
        """
        found = Tokenised()
        end, begin = template.tokenizer.eos_token_id, template.beginning
        for row in rows:
            if not isinstance(row, DocumentRow):
                continue
            text = template.encode(row.text)
            tokens = (*begin, *text, *(() if end is None else (end,)))
            if not text or len(tokens) < 2:
                found.left_out[EMPTY] += 1
                continue
            pieces = -(-len(tokens) // limit_tokens)
            size = -(-len(tokens) // pieces)
            for start in range(0, len(tokens), size):
                piece = tokens[start : start + size]
                if len(piece) > 1:
                    found.rows.append(single(row.id, piece, 1))
        return found

    def units(self, batch: Batch) -> int:
        """Target tokens."""
        return int(batch.targets_M.shape[0])

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        """Negative log-likelihood, summed."""
        return negative_log_likelihood(outputs)
