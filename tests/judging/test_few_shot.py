"""The prompts of this room whose examples are turns, in the spec's language."""

import pytest

from ethos.judging.few_shot import load_few_shot
from ethos.judging.wording import PROMPTS

NAMES = sorted({path.name.split(".")[0] for path in PROMPTS.glob("*.yaml")})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["fr", "zh"])
def test_a_language_with_a_file_of_its_own_has_its_examples_in_it(name: str, language: str) -> None:
    assert load_few_shot(name, language).examples != load_few_shot(name).examples
    assert "answer it in that language" not in load_few_shot(name, language).system


@pytest.mark.parametrize("name", NAMES)
def test_any_other_language_is_named_in_the_english_prompt(name: str) -> None:
    english, german = load_few_shot(name), load_few_shot(name, "de")
    assert german.examples == english.examples
    assert (
        german.system
        == f"{english.system}\n\nWhat you get after the examples is in German: answer it in that language."
    )
