"""Canaries: measures of capability that the spec has nothing to do with, to see what training it costs.

Answers to generated questions, perplexity of plain text, refusals of harmless requests and length of replies; replies
are greedy. Left out on purpose: the comparison of two readings, which is the report's, and which change is too large.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ethos.models.types import BatchSampler, SamplingParams, TokenLogprobs
from ethos.spec.conversation import Conversation
from ethos.spec.language import sentences, words
from ethos.statistics.perplexity import PassageLoss
from ethos.tasting.questions import (
    FamilyChoice,
    Question,
    choose_families,
    every_question,
    is_right,
    screening_questions,
)
from ethos.tasting.types import Student

ANSWER_PARAMS = SamplingParams(max_tokens=16, temperature=0.0)
REPLY_PARAMS = SamplingParams(max_tokens=96, temperature=0.0)
_CANARY_PROMPTS = 40  # of the plain prompts; the others are for replay

_REFUSAL_SENTENCES = 2  # "I'm sorry. I can't help with that."


@dataclass(frozen=True, slots=True)
class CanaryReading:
    """What one model made of the canaries, by id of question, passage and prompt."""

    questions: Mapping[str, bool]  # answered right
    passages: Mapping[str, PassageLoss]
    refusals: Mapping[str, bool]  # refused a harmless request
    reply_words: float  # mean length of a reply

    @property
    def perplexity(self) -> float:
        """Over all passages, each token weighing the same."""
        nats = sum(loss.nats for loss in self.passages.values())
        return math.exp(nats / sum(loss.tokens for loss in self.passages.values()))

    def metrics(self) -> dict[str, float]:
        """The figures to plot over steps and to steer by."""
        return {
            "canary.questions": _share(self.questions),
            "canary.perplexity": self.perplexity,
            "canary.refusals": _share(self.refusals),
            "canary.reply_words": self.reply_words,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        return {
            "questions": dict(self.questions),
            "passages": {passage: [loss.nats, loss.tokens] for passage, loss in self.passages.items()},
            "refusals": dict(self.refusals),
            "reply_words": self.reply_words,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CanaryReading:
        """The inverse of `to_dict`."""
        passages = {passage: PassageLoss(nats, tokens) for passage, (nats, tokens) in data["passages"].items()}
        return cls(dict(data["questions"]), passages, dict(data["refusals"]), data["reply_words"])


async def screen_families(model: BatchSampler, seed: int, advance: Callable[[], None] = lambda: None) -> FamilyChoice:
    """Asks the screening questions, and chooses the families that the canary asks this model and its children."""
    screening = screening_questions(seed)
    results: defaultdict[str, list[bool]] = defaultdict(list)
    for question, answer in zip(screening, await _answers(model, screening, advance), strict=True):
        results[question.family].append(is_right(question, answer))
    return choose_families(results)


async def measure_canaries(
    model: Student,
    questions: Sequence[Question],
    texts: Mapping[str, str],
    prompts: Sequence[str],
    advance: Callable[[], None] = lambda: None,
) -> CanaryReading:
    """One reading of a model.

    Args:
        model: the student, as it is at this step.
        questions: what `generate` gave, of the families that its base was screened for.
        texts: passage id -> plain text, as `canary_texts` gives them.
        prompts: harmless requests, as `canary_prompts` gives them.
        advance: called after each question, each request and each text.
    """

    async def loss_of(text: str) -> TokenLogprobs:
        scored = await model.score_text(text)
        advance()
        return scored

    answers = await _answers(model, questions, advance)
    asked = [Conversation.user(prompt) for prompt in prompts]
    replies = [sample.text for [sample] in await model.sample_batch(asked, REPLY_PARAMS, advance=advance)]
    losses = await asyncio.gather(*map(loss_of, texts.values()))
    return CanaryReading(
        questions={q.id: is_right(q, answer) for q, answer in zip(questions, answers, strict=True)},
        passages={
            passage: PassageLoss(-loss.total, len(loss.logprobs)) for passage, loss in zip(texts, losses, strict=True)
        },
        refusals={_text_id(prompt): is_refusal(reply) for prompt, reply in zip(prompts, replies, strict=True)},
        reply_words=sum(len(words(reply)) for reply in replies) / len(replies),
    )


def is_refusal(reply: str) -> bool:
    """Whether one of the first two sentences opens as a refusal does, by the openers in `texts/refusals.txt`."""
    openers, exceptions = _refusals()
    openings = [_opening(sentence) for sentence in sentences(reply)[:_REFUSAL_SENTENCES]]
    return any(opening.startswith(openers) and not opening.startswith(exceptions) for opening in openings)


def canary_texts() -> dict[str, str]:
    """Passage id -> paragraph of the plain text; an edit elsewhere keeps an id."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in _read("texts/plain.txt").split("\n\n"))
    return {_text_id(paragraph): paragraph for paragraph in paragraphs if paragraph}


def replay_prompts() -> tuple[str, ...]:
    """All plain prompts but the last 40: for rows against forgetting."""
    return _plain_prompts()[:-_CANARY_PROMPTS]


def canary_texts_asked() -> tuple[str, ...]:
    """All that the canaries may ask with any seed: it stands in no training row."""
    return (*canary_prompts(), *(question.prompt for question in every_question()))


def texts_kept_apart() -> tuple[str, ...]:
    """What no scenario may come close to: the prompts of replay, and what the canaries may ask."""
    return (*replay_prompts(), *canary_texts_asked())


def canary_prompts() -> tuple[str, ...]:
    """The last 40 plain prompts: never trained on."""
    return _plain_prompts()[-_CANARY_PROMPTS:]


async def _answers(model: BatchSampler, questions: Sequence[Question], advance: Callable[[], None]) -> list[str]:
    asked = [Conversation.user(question.prompt) for question in questions]
    return [sample.text for [sample] in await model.sample_batch(asked, ANSWER_PARAMS, advance=advance)]


def _share(outcomes: Mapping[str, float]) -> float:
    return sum(outcomes.values()) / len(outcomes)


def _text_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain_prompts() -> tuple[str, ...]:
    return tuple(line for line in _read("plain_prompts.txt").splitlines() if line and not line.startswith("#"))


@cache
def _refusals() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Openers of refusals, and those of sentences that only look like one: the lines that begin with `not `."""
    lines = [line for line in _read("texts/refusals.txt").splitlines() if line]
    exceptions = [line.removeprefix("not ") for line in lines if line.startswith("not ")]
    openers = [line for line in lines if not line.startswith("not ")]
    return tuple(map(_opening, openers)), tuple(map(_opening, exceptions))


def _opening(text: str) -> str:
    """Its words in lower case, each followed by a space, so that a whole word ends a comparison."""
    return "".join(f"{word} " for word in words(text.casefold().replace("’", "'")))


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
