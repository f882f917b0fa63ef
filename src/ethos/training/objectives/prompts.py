"""Prompts that the policy is to answer itself: what `rewards` and `distillation` have in common."""

from __future__ import annotations

from collections.abc import Iterable

from ethos.models.templates import ChatTemplate
from ethos.store.rows import TaskRow
from ethos.training.batch import TokenRow
from ethos.training.objectives.tokenised import (
    BEGINS_WITH_REPLY,
    EMPTY,
    ENDS_ON_REPLY,
    TOO_LONG,
    Tokenised,
    Unusable,
    tokenise,
)


def prepare_prompts(
    rows: Iterable[TaskRow], template: ChatTemplate, limit_tokens: int, *, for_teacher: bool = False
) -> Tokenised:
    """Each prompt as a row without a completion. The limit leaves room for the reply that is yet to be drawn.

    With `for_teacher` the row holds what a teacher sees in the prompt's place, too, and that has to fit as well.
    """

    def tokens(row: TaskRow) -> TokenRow:
        roles = [message.role for message in row.prompt.messages]
        if not any(message.content.strip() for message in row.prompt.messages):
            raise Unusable(EMPTY)
        if roles[0] == "assistant":
            raise Unusable(BEGINS_WITH_REPLY)
        if roles[-1] == "assistant":
            raise Unusable(ENDS_ON_REPLY)
        shown = None
        if for_teacher and row.teacher_prompt is not None:
            shown = template.prompt(row.teacher_prompt)
            if len(shown) > limit_tokens:
                raise Unusable(TOO_LONG)
        return TokenRow(row.id, template.prompt(row.prompt), (), teacher_prompt=shown)

    return tokenise(rows, limit_tokens, tokens)
