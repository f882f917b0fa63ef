"""Preference pairs as tokens: what `preferences` and `reward_model` have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from ethos.models.templates import ChatTemplate
from ethos.store.rows import PreferenceRow
from ethos.training.batch import TokenRow
from ethos.training.objectives.tokenised import ENDS_ON_REPLY, Tokenised, Unusable, reply_tokens, tokenise

LABEL, MARGIN = "label", "margin"
"""Signals of a pair: the probability that the chosen reply is the better one, and by how much at least."""
SAME = "both completions are the same"


def prepare_pairs(rows: Iterable[PreferenceRow], template: ChatTemplate, limit_tokens: int) -> Tokenised:
    """Each pair as one row of two completions, the likelier one first; the prompt is computed once for both."""

    def tokens(row: PreferenceRow) -> TokenRow:
        if row.prompt.messages and row.prompt.messages[-1].role == "assistant":
            raise Unusable(ENDS_ON_REPLY)
        row_id = row.id
        if row.probability < 0.5:
            row = replace(row, chosen=row.rejected, rejected=row.chosen, probability=1 - row.probability)
        prompt, chosen = reply_tokens(template, row.prompt.then("assistant", row.chosen))
        _, rejected = reply_tokens(template, row.prompt.then("assistant", row.rejected))
        if chosen.tokens == rejected.tokens:
            raise Unusable(SAME)
        signals = {LABEL: row.probability, MARGIN: row.margin}
        return TokenRow(row_id, prompt, (chosen, rejected), signals, is_whole=True)

    return tokenise(rows, limit_tokens, tokens)


def chosen_and_rejected(values_C: Tensor) -> tuple[Tensor, Tensor]:
    """Of what each completion has, that of the chosen and of the rejected ones, shape [R] each."""
    return values_C[0::2], values_C[1::2]
