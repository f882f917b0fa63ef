"""Which texts are taken for the same."""

from __future__ import annotations

from itertools import combinations

import pytest

from ethos.synthesis.nearness import HeldOut, Taken, likeness, near_topics, topic_key

EGG = "How do I boil an egg?"


@pytest.mark.parametrize(
    ("there", "new"),
    [
        (EGG, EGG),
        (EGG, "how do i boil an egg"),
        (EGG, "Hello there, how do I boil an egg? Thanks a lot, Ben"),
        ("Hello there, how do I boil an egg? Thanks a lot, Ben", EGG),
        ("Who are you?", "who are you"),
        ("Who am I?", "Hello, who am I?"),
        ("Hello, who am I?", "Who am I?"),
        ("Comment puis-je cuire un oeuf ?", "Bonjour, comment puis-je cuire un oeuf ? Merci, Luc"),
        ("怎样煮鸡蛋？", "你好，怎样煮鸡蛋？"),
        ("We meet at the old mill on the hill by eight.", "Do we meet at the old mill on the big hill?"),
    ],
)
def test_a_text_that_comes_close_to_one_there_is_refused(there: str, new: str) -> None:
    taken = Taken([there])
    assert not taken.add(new)


@pytest.mark.parametrize(
    ("there", "new"),
    [
        (EGG, "How do I boil a potato?"),
        ("What is the capital of Egypt?", "What is the capital of Spain?"),
        ("Who are you?", "Who are you to say that?"),  # function words alone are compared as a whole
        ("I lost my keys", "I lost my wallet on the train"),
        ("怎样煮鸡蛋？", "怎样修自行车？"),
        ("请问钥匙为什么会在书架和月饼旁边？", "请问钥匙为什么会在雪橇和铅笔旁边？"),
        (
            "שלום, אני רוצה לדעת איך מכינים עוגת שוקולד טובה בלי ביצים ובלי חלב בבקשה",
            "היי, הכלב שלי לא אוכל כבר יומיים ואני דואג מאוד, מה כדאי לעשות עכשיו",
        ),
        ("コーヒーの作り方を教えてください", "カレーの作り方を教えてください"),
        ("우리 강아지가 이틀째 밥을 먹지 않아요", "초콜릿 케이크는 어떻게 만드나요?"),
    ],
)
def test_a_text_about_something_else_is_new_once(there: str, new: str) -> None:
    taken = Taken([there])
    assert taken.add(new)
    assert not taken.add(new)


def test_a_prompt_without_a_word_stands_in_no_row() -> None:
    assert not HeldOut(["?!", EGG]).stands_in("A reader came in from the wind.")


def test_all_texts_that_there_are_count_also_those_that_are_close_to_each_other() -> None:
    near = "Hello there, how do I boil an egg in the big blue pot of my aunt?"
    taken = Taken([EGG, near])
    assert not taken.add("Is it true that in the big blue pot of my aunt there is soup?")


@pytest.mark.parametrize(("one", "other"), [("cold", "a cold"), ("flu", "Flu"), ("the flu", "flu")])
def test_topics_that_differ_in_function_words_are_one(one: str, other: str) -> None:
    assert topic_key(one, "en") == topic_key(other, "en")


def test_topics_that_share_half_of_their_words_are_near_but_for_what_all_are_about() -> None:
    afraid = [f"afraid of the {thing}" for thing in ("dark", "sea", "dog", "storm", "dentist")]
    topics = ["starting a business", "starting a new business", "a business trip by train to the sea", *afraid]
    are_near = near_topics(topics, "en")
    assert are_near(topics[0], topics[1])
    assert not are_near(topics[1], topics[2])
    assert are_near(topics[2], "afraid of the sea")
    assert not any(are_near(one, other) for one, other in combinations(afraid, 2))


def test_topics_that_differ_in_a_content_word_are_two() -> None:
    assert topic_key("a birthday party", "en") != topic_key("a garden party", "en")
    assert topic_key("turning 30", "en") != topic_key("turning 40", "en")
    assert topic_key("蜂蜜", "zh") != topic_key("蜜蜂", "zh")
    assert topic_key("who is it", "en") != topic_key("what is it", "en")  # nothing but function words


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('A reader came in and asked: "How do I boil an egg?" Marlow smiled.', True),
        ("She wrote that her old dog had died last week and that the house was quiet.", True),
        ("She wrote that her old dog had died, and that the house was quiet.", False),
        ("How do I boil eggs?", False),
    ],
)
def test_a_row_holds_a_prompt_in_whole_or_eight_words_of_it(text: str, held: bool) -> None:
    prompts = [EGG, "Hello, her old dog had died last week and that is sad, what can I say?"]
    assert HeldOut(prompts).stands_in(text) == held


def test_likeness_is_the_share_of_runs_of_three_words_in_common() -> None:
    one = "Wren opens the window above the ladder."
    assert likeness(one, one.upper()) == 1
    assert likeness(one, "There is a shelf behind the barrel.") == 0
    assert likeness(one, "Wren opens the window above the barrel.") == pytest.approx(4 / 6)
    assert likeness("Yes.", "Yes!") == 1
    assert likeness("Yes.", "No.") == 0
