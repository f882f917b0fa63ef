"""From rows to tokens, and why some rows can't be used: counted, never silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from ethos.errors import EthosError
from ethos.models.templates import ChatTemplate, Turns
from ethos.spec.conversation import Conversation
from ethos.training.batch import Completion, TokenRow

R = TypeVar("R")

TOO_LONG = "longer than the context"
ENDS_ON_USER = "doesn't end on the assistant's turn"
BEGINS_WITH_REPLY = "begins with the assistant's turn"
EMPTY = "an empty completion"
ENDS_ON_REPLY = "a prompt that ends on the assistant's turn"


class Unusable(Exception):
    """A row that an objective can't train on; its text is the reason."""


@dataclass(slots=True)
class Tokenised:
    """The rows of one objective as tokens, and how many were left out for which reason."""

    rows: list[TokenRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def tokenise(rows: Iterable[R], limit_tokens: int, to_tokens: Callable[[R], TokenRow]) -> Tokenised:
    """Turns each row into tokens; those that can't be used, that the chat template refuses, or that don't fit the
    context are counted instead.
    """
    found = Tokenised()
    for row in rows:
        try:
            tokens = to_tokens(row)
        except (Unusable, EthosError) as reason:
            found.left_out[str(reason)] += 1
            continue
        if tokens.size.longest > limit_tokens:
            found.left_out[TOO_LONG] += 1
        else:
            found.rows.append(tokens)
    return found


def reply_tokens(
    template: ChatTemplate, conversation: Conversation, turns: Turns = "last"
) -> tuple[tuple[int, ...], Completion]:
    """Prompt and completion of a conversation that ends on the assistant. Raises Unusable if it doesn't say anything"""
    roles = [message.role for message in conversation.messages]
    if not roles or roles[-1] != "assistant":
        raise Unusable(ENDS_ON_USER)
    if roles[0] == "assistant":
        raise Unusable(BEGINS_WITH_REPLY)
    trained_on = conversation.messages if turns == "all" else conversation.messages[-1:]
    if any(message.role == "assistant" and not message.content.strip() for message in trained_on):
        raise Unusable(EMPTY)
    rendered = template.row(conversation, turns)
    return rendered.prompt, Completion(rendered.tokens, None if all(rendered.mask) else rendered.mask)
