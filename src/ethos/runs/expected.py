"""Calls of a run before they are made: how many of a kind, and what one takes, as the ledger will count it.

Tokens are guessed from bytes, as no tokenizer is at hand for every model: sizes to plan with, not promises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ethos.judging.rubric import ANSWER_TOKENS, SAMPLED_ANSWERS, THOUGHT_TOKENS
from ethos.models.catalogue import Entry
from ethos.models.estimates import estimated_tokens
from ethos.spec.conversation import Conversation
from ethos.synthesis.subjects import LINES_A_LIST

USABLE = 3 / 4  # of what the teacher writes
JUDGED = 1 / 2  # of the student's replies: the others fail a check or are hollow
ASSUMED = (
    "expected if three of four messages and replies of the teacher can be used, and every other reply of the student "
    "reaches the judge; at most if all is drawn as often, and is as long, as it may be"
)

_BYTES_PER_TOKEN = 4
_TOKENS_PER_TURN = 5  # what a chat template puts around it


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one kind; tokens are those of one call."""

    count: float  # expected
    most: float  # as many as there can be
    prompt: float  # the whole prompt
    reply: float  # expected
    longest: float  # the longest reply that is let be
    computed: float  # by an engine in this process: what the prompt shares with no other call, and the reply


@dataclass(frozen=True, slots=True)
class Sums:
    """What calls come to."""

    calls: int
    tokens: int
    most_calls: int
    most_tokens: int
    computed_tokens: int


def sums(parts: Iterable[Calls]) -> Sums:
    """Of all kinds together, rounded."""
    kinds = list(parts)
    return Sums(
        calls=round(sum(kind.count for kind in kinds)),
        tokens=round(sum(kind.count * (kind.prompt + kind.reply) for kind in kinds)),
        most_calls=round(sum(kind.most for kind in kinds)),
        most_tokens=round(sum(kind.most * (kind.prompt + kind.longest) for kind in kinds)),
        computed_tokens=round(sum(kind.count * kind.computed for kind in kinds)),
    )


def verdicts(entry: Entry, count: float, most: float, prompt: Conversation, computed: float) -> Calls:
    """The calls by which a model answers a question with yes or no, `count` times; `computed` tokens each.

    In this process it scores both answers; an OpenAI-compatible endpoint tells how likely the first token is, if it
    does; else answers are drawn, and drawn anew where the model thinks first.
    """
    if entry.kind == "local":
        return Calls(2 * count, 2 * most, estimated_tokens(prompt), 1, 1, computed / 2)
    asked, drawn = prompt_tokens(prompt), (ANSWER_TOKENS + THOUGHT_TOKENS) / 2
    if entry.kind == "openai":
        return Calls(count, (1 + 2 * SAMPLED_ANSWERS) * most, asked, 1, drawn, computed)
    return Calls(SAMPLED_ANSWERS * count, 2 * SAMPLED_ANSWERS * most, asked, 1, drawn, computed)


def expected_draws(first: int, more: int, most: int, wanted: int, usable: float = USABLE) -> float:
    """Draws until `wanted` are usable: `first` at once, then `more` at a time, up to `most`."""
    drawn, expected = 0, 0.0
    while drawn < most:
        batch = min(more if drawn else first, most - drawn)
        too_few = (math.comb(drawn, n) * usable**n * (1 - usable) ** (drawn - n) for n in range(min(wanted, drawn + 1)))
        expected += batch * sum(too_few)
        drawn += batch
    return expected


def expected_lists(needed: int, first: int, most: int) -> int:
    """Lists until they name so many distinct things: `first` at once, then twice as many each time, up to `most`."""
    lists = first
    while lists < most and lists * LINES_A_LIST * USABLE < needed:
        lists = min(2 * lists, most)
    return lists


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def prompt_tokens(prompt: Conversation) -> int:
    """About how many tokens a prompt has."""
    return sum(_TOKENS_PER_TURN + text_tokens(message.content) for message in prompt.messages)
