from __future__ import annotations

from typing import Any

import pytest

from ethos.spec.types import Example
from ethos.tasting.arms import VARIANTS, best_variant, prompt_for, prompts_for


def count_words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def character(make: Any) -> Any:
    return make.spec(
        make.clause("name", text="It is called Wren.", good=(Example("I'm Wren."),)),
        make.clause("units", text="It gives metric units."),
    )


def test_each_variant_puts_the_spec_before_the_prompt_and_counts_its_tokens(make: Any, character: Any) -> None:
    scenario = make.scenario("name", "Who are you?")
    for variant in VARIANTS:
        shown = prompt_for(variant, scenario, character, count_words, 100)
        system, user = shown.conversation.messages
        assert (system.role, user.content) == ("system", "Who are you?")
        assert "It is called Wren." in system.content
        assert shown.tokens == count_words(system.content)


def test_only_the_example_variant_shows_a_good_reply(make: Any, character: Any) -> None:
    scenario = make.scenario("name", "Who are you?")
    system = {
        v: prompt_for(v, scenario, character, count_words, 100).conversation.messages[0].content for v in VARIANTS
    }
    assert system["whole"] == character.text
    assert system["frame+example"].startswith(system["frame"])
    assert system["frame+example"].endswith("An example of a good reply:\n\nI'm Wren.")
    assert "I'm Wren." not in system["frame"]


def test_an_example_with_its_message_comes_as_turns(make: Any) -> None:
    spec = make.spec(make.clause("name", text="It is called Wren.", good=(Example("I'm Wren.", "Hi, and you are?"),)))
    shown = prompt_for("frame+example", make.scenario("name", "Who are you?"), spec, count_words, 100)
    assert [(m.role, m.content) for m in shown.conversation.messages[1:]] == [
        ("user", "Hi, and you are?"),
        ("assistant", "I'm Wren."),
        ("user", "Who are you?"),
    ]
    assert shown.tokens == count_words(shown.conversation.messages[0].content) + 4 + 2


def test_a_clause_without_a_good_reply_gets_its_frame(make: Any, character: Any) -> None:
    scenario = make.scenario("units", "How far is it?")
    plain, example = (prompt_for(v, scenario, character, count_words, 100) for v in ("frame", "frame+example"))
    assert plain == example


def test_the_example_is_introduced_in_the_specs_language(make: Any) -> None:
    french = make.spec(make.clause("nom", text="Elle s'appelle Wren.", good=(Example("Je suis Wren."),)), language="fr")
    shown = prompt_for("frame+example", make.scenario("nom", "Qui es-tu ?"), french, count_words, 100)
    assert "Un exemple de bonne réponse" in shown.conversation.messages[0].content


def test_many_prompts_are_those_of_each(make: Any, character: Any) -> None:
    scenarios = [make.scenario("name", "Hi."), make.scenario("units", "How far?"), make.scenario("name", "You?")]
    assert prompts_for("frame", scenarios, character, count_words, 100) == [
        prompt_for("frame", scenario, character, count_words, 100) for scenario in scenarios
    ]


def test_the_best_variant_has_the_highest_mean_of_what_all_were_scored_on() -> None:
    scores = {"whole": [1.0, None, 0.0], "frame": [1.0, 0.0, 1.0], "frame+example": [0.0, 1.0, 1.0]}
    assert best_variant(scores) == "frame"  # type: ignore[arg-type]


def test_a_variant_that_was_never_read_takes_no_part() -> None:
    scores = {"whole": [None, None], "frame": [0.0, 0.0], "frame+example": [None, 1.0]}
    assert best_variant(scores) == "frame+example"  # type: ignore[arg-type]


def test_where_nothing_was_scored_the_first_variant_is_taken() -> None:
    assert best_variant({"frame": [None], "whole": [None]}) == "frame"


def test_of_equal_variants_the_first_is_best() -> None:
    assert best_variant({"frame": [1.0, 0.0], "whole": [0.0, 1.0]}) == "frame"
