from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethos.spec.language import words
from ethos.tasting.canaries import replay_prompts
from ethos.tasting.questions import (
    FAMILIES,
    SCREENING_PER_FAMILY,
    Question,
    choose_families,
    generate,
    is_right,
    screening_questions,
)

EVERYTHING = generate(10_000, 0) + screening_questions(0)


def ask(question_id: str) -> Question:
    return next(question for question in EVERYTHING if question.id == question_id)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 600))
@settings(max_examples=25, deadline=None)
def test_a_seed_decides_the_questions_and_no_question_comes_twice(seed: int, count: int) -> None:
    questions = generate(count, seed)
    assert questions == generate(count, seed)
    assert len(questions) == count
    assert len({question.id for question in questions}) == count


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_what_screens_is_never_asked_by_the_canary(seed: int) -> None:
    screening = screening_questions(seed)
    assert len(screening) == SCREENING_PER_FAMILY * len(FAMILIES)
    canary = generate(10_000, seed)
    assert not {question.id for question in screening} & {question.id for question in canary}
    assert not {question.prompt for question in screening} & {question.prompt for question in canary}


def test_another_seed_asks_other_questions() -> None:
    assert {q.id for q in generate(100, 1)} != {q.id for q in generate(100, 2)}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_questions_share_an_id_or_a_prompt(family: str) -> None:
    questions = [question for question in EVERYTHING if question.family == family]
    assert len(questions) >= 60
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.prompt for question in questions}) == len(questions)


def test_no_question_is_trained_on_by_way_of_replay() -> None:
    asked = {" ".join(words(question.prompt.lower())) for question in EVERYTHING}
    assert not [prompt for prompt in replay_prompts() if " ".join(words(prompt.lower())) in asked]


@given(st.sampled_from(EVERYTHING), st.data())
@settings(max_examples=300, deadline=None)
def test_an_accepted_answer_is_right_alone_and_in_a_sentence(question: Question, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(sorted(question.answers)))
    for reply in (answer, answer.upper(), f"The answer is {answer}.", f'Sure!\n"{answer}."', f"**{answer}**"):
        assert is_right(question, reply), reply


@given(st.sampled_from([question for question in EVERYTHING if question.rivals]), st.data())
@settings(max_examples=300, deadline=None)
def test_naming_a_rival_as_well_is_wrong(question: Question, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(sorted(question.answers)))
    rival = data.draw(st.sampled_from(sorted(question.rivals)))
    assert not is_right(question, f"{answer} or {rival}.")
    assert not is_right(question, f"The answer is {rival}.")


@given(st.sampled_from(EVERYTHING), st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_checked(question: Question, reply: str) -> None:
    assert is_right(question, reply) in (True, False)


@given(st.sampled_from(EVERYTHING))
@settings(max_examples=300, deadline=None)
def test_the_question_said_again_is_no_answer(question: Question) -> None:
    assert not is_right(question, question.prompt)
    assert not is_right(question, "")


@pytest.mark.parametrize(
    ("question_id", "reply"),
    [
        ("capitals/France", "The capital of France is Paris."),
        ("capitals/Brazil", "Brasília"),
        ("capitals/Bolivia", "Bolivia has two: Sucre and La Paz."),
        ("addition/3 + 4", "3 + 4 = 7"),
        ("addition/3 + 4", "The answer is seven."),
        ("multiplication/7 * 3", "Twenty-one!"),
        ("opposites/hot", "The opposite of hot is cold. This is because heat is a form of energy"),
        ("plurals/child", 'The plural of "child" is "children" (plural of the noun'),
        ("elements/gold", "The chemical symbol for gold is Au.\n\nThe chemical symbol for"),
        ("categories/A robin", "Good question! A robin is a small bird."),
        ("numerals/12", "The number twelve is 12 in digits."),
    ],
)
def test_right_replies_are_right(question_id: str, reply: str) -> None:
    assert is_right(ask(question_id), reply)


@pytest.mark.parametrize(
    ("question_id", "reply"),
    [
        ("capitals/France", "France is a country in Europe. Its capital is Paris."),
        ("capitals/France", "Parish"),
        ("capitals/France", "Paris or Madrid."),
        ("addition/3 + 4", "To find 3 + 4, we can start by adding 3 to"),
        ("addition/3 + 4", "The answer is 17."),
        ("addition/3 + 4", "5, 6, 7, 8"),
        ("elements/boron", "The chemical symbol for boron is boron."),
        ("categories/A robin", "A robin is a fish, a bird or a mammal."),
        ("numerals/12", "The number is 1 and 12."),
    ],
)
def test_wrong_replies_are_wrong(question_id: str, reply: str) -> None:
    assert not is_right(ask(question_id), reply)


def test_families_in_the_middle_range_are_kept() -> None:
    results = {
        "low": [True] * 5 + [False] * 15,
        "floor": [True] * 6 + [False] * 14,
        "middle": [True, False],
        "ceiling": [True] * 18 + [False] * 2,
        "high": [True] * 19 + [False],
    }
    choice = choose_families(results)
    assert choice.families == ("floor", "middle", "ceiling")
    assert choice.warning is None


def test_too_few_families_take_the_nearest_and_say_so() -> None:
    results = {"never": [False] * 20, "always": [True] * 20, "middle": [True, False], "often": [True] * 19 + [False]}
    choice = choose_families(results)
    assert choice.families == ("middle", "often", "always")
    assert choice.warning is not None
    assert "only 1 of 4 families" in choice.warning
