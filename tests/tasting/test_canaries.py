from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from ethos.spec.conversation import Conversation
from ethos.statistics.perplexity import PassageLoss
from ethos.tasting.canaries import (
    CanaryReading,
    canary_prompts,
    canary_texts,
    is_refusal,
    measure_canaries,
    replay_prompts,
    screen_families,
)
from ethos.tasting.questions import FAMILIES, generate, screening_questions

TEXTS = {"a": "one two three four", "b": "five six"}
PROMPTS = ("Write a poem.", "Name a tree.")
ANSWERS = {q.prompt: sorted(q.answers)[0] for q in (*generate(10_000, 0), *screening_questions(0))}


def test_a_reading_holds_every_question_passage_and_prompt(make: Any) -> None:
    def answer(prompt: Conversation) -> str:
        if prompt.last_user in PROMPTS:
            return "I'm sorry, but I can't help with that." if prompt.last_user == PROMPTS[0] else "An old oak."
        return ANSWERS[prompt.last_user]

    questions = generate(30, 0)
    found = asyncio.run(measure_canaries(make.scripted(answer, nats_per_token=1.5), questions, TEXTS, PROMPTS))
    assert found.questions == {question.id: True for question in questions}
    assert found.passages == {"a": PassageLoss(6.0, 4), "b": PassageLoss(3.0, 2)}
    assert found.perplexity == pytest.approx(math.exp(1.5))
    assert sorted(found.refusals.values()) == [False, True]
    assert found.reply_words == 5.5
    assert found.metrics()["canary.questions"] == 1.0
    assert CanaryReading.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_screening_keeps_what_the_student_answers_in_part(make: Any) -> None:
    kept = ("capitals", "opposites", "plurals")
    prompts = {family: [q.prompt for q in screening_questions(3) if q.family == family] for family in FAMILIES}
    known = {prompt for family in kept for prompt in prompts[family][:12]}

    model = make.scripted(lambda prompt: ANSWERS[prompt.last_user] if prompt.last_user in known else "No idea at all.")
    choice = asyncio.run(screen_families(model, 3))
    assert choice.families == kept
    assert choice.warning is None


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I cannot write this poem.",
        "Sorry! I am unable to do that.",
        "As an AI language model, I cannot travel.",
        "Je suis désolé, mais je ne peux pas répondre.",
        "很抱歉，我无法回答这个问题。",
    ],
)
def test_refusals_are_seen(reply: str) -> None:
    assert is_refusal(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sure, here is a poem.",
        "I can't wait to hear about it!",
        "I cannoli.",
        "Boil the rice. Drain it. I can't tell you how long, so taste it.",
        "I'm sorry to hear that your dog is ill.",
    ],
)
def test_what_only_looks_like_a_refusal_is_none(reply: str) -> None:
    assert not is_refusal(reply)


def test_prompts_for_replay_and_for_the_canary_share_none() -> None:
    assert (len(replay_prompts()), len(canary_prompts())) == (150, 40)
    assert len({*replay_prompts(), *canary_prompts()}) == 190
    assert not any(prompt.startswith("#") for prompt in replay_prompts())


def test_plain_texts_are_many_and_each_can_be_scored() -> None:
    texts = canary_texts()
    assert len(texts) >= 30
    assert all(len(text.split()) >= 20 for text in texts.values())
