"""Prompts whose examples are turns."""

from __future__ import annotations

import pytest

from ethos.synthesis.types import PROMPTS, few_shot

ASKED = {
    "topics": {"count": "10", "case": "someone is lost", "language": "French"},
    "plain_questions": {"count": "10", "language": "French"},
    "message": {"case": "someone is lost", "topic": "a foggy harbour", "form": "an email", "language": "French"},
}


def test_every_prompt_file_is_tried_here() -> None:
    assert {path.stem for path in PROMPTS.glob("*.yaml")} == set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_the_examples_are_turns_and_the_last_turn_asks(name: str) -> None:
    filled = few_shot(name).fill(ASKED[name])
    roles = [message.role for message in filled.messages]
    examples = len(few_shot(name).examples)
    assert examples >= 1
    assert roles == ["system", *("user", "assistant") * examples, "user"]
    assert all(value in filled.last_user for value in ASKED[name].values())


@pytest.mark.parametrize("name", ASKED)
def test_no_placeholder_is_left(name: str) -> None:
    assert "{" not in "".join(message.content for message in few_shot(name).fill(ASKED[name]).messages)


def test_a_placeholder_inside_what_is_filled_in_stays_as_it_is() -> None:
    assert "{topic}" in few_shot("topics").fill({"count": "3", "case": "{topic}", "language": "English"}).last_user


def test_a_placeholder_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError, match="language"):
        few_shot("topics").fill({"count": "3", "case": "someone is lost"})
