from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from ethos.spec.conversation import Conversation
from ethos.statistics.perplexity import PassageLoss
from ethos.tasting.canaries import (
    CanaryReading,
    canary_prompts,
    canary_texts,
    compare,
    is_refusal,
    measure_canaries,
    replay_prompts,
    screen_families,
)
from ethos.tasting.questions import FAMILIES, generate, screening_questions

TEXTS = {"a": "one two three four", "b": "five six"}
PROMPTS = ("Write a poem.", "Name a tree.")
ANSWERS = {q.prompt: sorted(q.answers)[0] for q in (*generate(10_000, 0), *screening_questions(0))}


def reading(right: int, of: int, nats: float, *, words: float = 20.0) -> CanaryReading:
    """Questions 0..right-1 answered right; passages with a little spread around `nats` a token."""
    return CanaryReading(
        questions={f"q{i}": i < right for i in range(of)},
        passages={f"p{i}": PassageLoss((nats + i % 5 / 100) * 50, 50) for i in range(40)},
        refusals={f"r{i}": i == 0 for i in range(40)},
        reply_words=words,
    )


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


def test_the_same_model_differs_by_nothing() -> None:
    base = reading(60, 100, 3.0)
    found = compare(base, base)
    assert found["questions"]["difference"] == 0
    assert found["perplexity"]["ratio"] == 1
    assert found["questions"]["interval"][0] <= 0 <= found["questions"]["interval"][1]
    assert found["perplexity"]["interval"] == [1, 1]


def test_lost_answers_and_a_higher_perplexity_show_with_their_intervals() -> None:
    found = compare(reading(300, 500, 3.0), reading(200, 500, 3.2, words=35.0))
    questions, perplexity = found["questions"], found["perplexity"]
    assert (questions["base"], questions["trained"], questions["n"]) == (0.6, 0.4, 500)
    assert questions["difference"] == pytest.approx(-0.2)
    assert -0.25 < questions["interval"][0] < -0.2 < questions["interval"][1] < -0.15
    assert perplexity["ratio"] == pytest.approx(math.exp(0.2))
    assert perplexity["interval"][0] > 1.2
    assert found["reply_words"] == {"base": 20.0, "trained": 35.0}
    json.dumps(found)


def test_only_questions_that_both_were_asked_are_compared() -> None:
    base, trained = reading(50, 100, 3.0), reading(50, 100, 3.0)
    trained = replace(trained, questions={"q0": True, "q99": True, "another": False})
    assert compare(base, trained)["questions"]["n"] == 2
    assert compare(base, trained)["questions"]["difference"] == pytest.approx(0.5)


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
    assert len(replay_prompts()) == len(canary_prompts()) == 40
    assert not set(replay_prompts()) & set(canary_prompts())


def test_plain_texts_are_many_and_each_can_be_scored() -> None:
    texts = canary_texts()
    assert len(texts) >= 30
    assert all(len(text.split()) >= 20 for text in texts.values())
