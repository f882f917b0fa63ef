"""Calls of a run before they are made: how many of a kind, and what one takes, as the ledger will count it.

Prompts are filled as they will be, with words of the usual length where nothing is written yet. Tokens are guessed from
bytes, as no tokenizer is at hand for every model: sizes to plan with, not promises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ethos.judging.cases import case_prompt, is_any_case
from ethos.judging.clause_reading import rule_of
from ethos.judging.rubric import ANSWER_TOKENS, SAMPLED_ANSWERS, THOUGHT_TOKENS
from ethos.judging.wording import load_wording
from ethos.models.catalogue import Entry
from ethos.models.estimates import estimated_tokens
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause, Spec

Role = Literal["writer", "teacher", "judge", "sealed judge", "student"]
"""Who is asked: `writer` draws rows, and is the teacher or a chorus."""

TYPICAL_MESSAGE = "a message of about the length that people's messages have here"
TYPICAL_REPLY, TYPICAL_PROBE = 1 / 2, 3 / 4  # of the longest: of the teacher, who is told to be brief; of the student
FRESH_MESSAGE, FRESH_REPLY, FRESH_DOCUMENT = 60, 80, 100  # tokens of a prompt that no other shares
USABLE = 3 / 4  # of what the teacher writes
JUDGED = 1 / 2  # of the student's replies: the others fail a check or are hollow
ASSUMED = (
    "expected if three of four messages and replies of the teacher can be used, and every other reply of the student "
    "reaches the judge; at most if all is drawn as often, and is as long, as it may be"
)

_BYTES_PER_TOKEN = 4
_COMPUTED_CASE, _COMPUTED_VERDICT = 50, 100
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

    def share(self, of_all: float) -> Calls:
        """As many of them as go to one of several models."""
        return replace(self, count=self.count * of_all, most=self.most * of_all)


@dataclass(frozen=True, slots=True)
class PlannedCast:
    """Who will play a part in making rows, and what the student sees first."""

    teacher: Entry  # who says what is a case of what
    judge: Entry
    system_message: str | None = None

    def answers(self, count: float, message: str, longest: int, most: float | None = None) -> Calls:
        """Replies of the student to messages as they are."""
        prompt = prompt_tokens(Conversation.user(message)) + text_tokens(self.system_message or "")
        reply = longest * TYPICAL_PROBE
        return Calls(count, count if most is None else most, prompt, reply, longest, prompt + reply)

    def vetoes(
        self, spec: Spec, messages: int, own: Mapping[str, int], replies: float, most: float, longest_reply: int
    ) -> Iterator[tuple[Role, Calls]]:
        """What it takes to hold replies against each `must`, of which `most` at most may reach a judge.

        Whether one that applies sometimes binds a reply is asked of each of the messages, but of those that are its
        own (by clause id): where the reply breaks it, or only a judge can tell.
        """
        for must in (clause for clause in spec.clauses if clause.tier == "must"):
            if must.judged:
                reach = replies * (must.applies == "always")
                yield "judge", rubric_calls(self.judge, "rubric", spec, must, reach, most, longest_reply)
            if must.applies == "sometimes":
                asked = messages - own.get(must.id, 0)
                yield "teacher", case_calls(self.teacher, must, asked, asked)


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


def rubric_calls(
    entry: Entry, wording: str, spec: Spec, clause: Clause, count: float, most: float, longest_reply: int
) -> Calls:
    """A judge's verdicts on replies under a clause."""
    quoted = {"message": TYPICAL_MESSAGE, "reply": "word" * round(longest_reply * TYPICAL_REPLY)}
    question = clause.ask or f"Does the reply do what follows? {rule_of(clause, spec)}"
    asked = load_wording(wording, spec.language).fill(trusted={"question": question}, quoted=quoted)
    return verdicts(entry, count, most, asked, _COMPUTED_VERDICT)


def pairwise_calls(entry: Entry, spec: Spec, clause: Clause, count: float, most: float, longest_reply: int) -> Calls:
    """Comparisons of two replies under a clause, each in both orders."""
    reply = "word" * round(longest_reply * TYPICAL_REPLY)
    quoted = {"message": TYPICAL_MESSAGE, "first_reply": reply, "second_reply": reply}
    question = clause.ask or f"Does the reply do what follows? {rule_of(clause, spec)}"
    asked = load_wording("pairwise", spec.language).fill(trusted={"question": question}, quoted=quoted)
    return verdicts(entry, 2 * count, 2 * most, asked, prompt_tokens(asked))


def case_calls(entry: Entry, clause: Clause, count: float, most: float) -> Calls:
    """Whether so many messages are cases of a clause."""
    asked = 0 if is_any_case(clause) else 1
    return verdicts(entry, asked * count, asked * most, case_prompt(clause, TYPICAL_MESSAGE), _COMPUTED_CASE)


def expected_draws(first: int, more: int, most: int, wanted: int, usable: float = USABLE) -> float:
    """Draws until `wanted` are usable: `first` at once, then `more` at a time, up to `most`."""
    drawn, expected = 0, 0.0
    while drawn < most:
        batch = min(more if drawn else first, most - drawn)
        too_few = (math.comb(drawn, n) * usable**n * (1 - usable) ** (drawn - n) for n in range(min(wanted, drawn + 1)))
        expected += batch * sum(too_few)
        drawn += batch
    return expected


def expected_lists(needed: int, lines: int, first: int, most: int) -> int:
    """Lists of so many lines until they name so many distinct things: `first`, then twice as many, up to `most`."""
    lists = first
    while lists < most and lists * lines * USABLE < needed:
        lists = min(2 * lists, most)
    return lists


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def prompt_tokens(prompt: Conversation) -> int:
    """About how many tokens a prompt has."""
    return sum(_TOKENS_PER_TURN + text_tokens(message.content) for message in prompt.messages)
