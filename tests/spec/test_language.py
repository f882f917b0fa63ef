import re
import subprocess
import sys
from itertools import accumulate, pairwise

import pytest
import uniseg.sentencebreak
import uniseg.wordbreak
from hypothesis import given
from hypothesis import strategies as st

from ethos.spec.language import (
    LANGUAGES,
    UNKNOWN,
    detect_language,
    language_name,
    sentence_ends,
    sentences,
    word_ends,
    words,
)

CHARACTERS = ["a", "Z", "é", "e\u0301", *"水の3 .!?。？\n\r\u00a0,-'ア"]
PROSE = st.lists(st.sampled_from(CHARACTERS), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Dr. Fern said so. He left.", ["Dr. Fern said so.", "He left."]),
        ("Use mulch, e.g. bark. It lasts.", ["Use mulch, e.g. bark.", "It lasts."]),
        ("Wait... what? It costs 3.5 pounds.", ["Wait... what?", "It costs 3.5 pounds."]),
        ("No. That is No. 5.", ["No.", "That is No. 5."]),
        ('"Why?" she asked. "Stop." He did.', ['"Why?" she asked.', '"Stop."', "He did."]),
        ("Sure! 😊", ["Sure!"]),
    ],
)
def test_english_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bonjour ! Ça va ?", ["Bonjour !", "Ça va ?"]),
        (
            "M. Dupont arriva. Il dit : « Non. » Puis il partit.",
            ["M. Dupont arriva.", "Il dit : « Non. »", "Puis il partit."],
        ),
        ("« Ça va\u00a0?\u00a0» demanda-t-elle.", ["« Ça va\u00a0?\u00a0» demanda-t-elle."]),
    ],
)
def test_french_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_chinese_sentences_keep_their_quotation_marks() -> None:
    assert sentences("他问：“真的吗？！”“是。”你呢？「好的。」") == [
        "他问：“真的吗？！”",
        "“是。”",
        "你呢？",
        "「好的。」",
    ]


def test_lines_and_list_items_end_sentences() -> None:
    assert sentences("First\nSecond\r\n\n1. Water it.\n2. Feed it\n- Wait") == [
        "First",
        "Second",
        "1. Water it.",
        "2. Feed it",
        "- Wait",
    ]


def test_words_drop_punctuation_and_count_han_characters() -> None:
    assert words("It's 3.5 m, isn't it?") == ["It's", "3.5", "m", "isn't", "it"]
    assert words("L'été, déjà !") == ["L'été", "déjà"]
    assert words("你好，小满！") == ["你", "好", "小", "满"]
    assert words("日本語のテキストです。") == ["日", "本", "語", "の", "テキスト", "です"]
    assert words("… — !") == []


@given(st.text(max_size=80) | PROSE)
def test_sentences_and_words_cover_the_text(text: str) -> None:
    assert not text or sentence_ends(text)[-1] == len(text)
    assert [text[:end].endswith(word) for end, word in zip(word_ends(text), words(text), strict=True)].count(False) == 0


@given(PROSE)
def test_sentence_breaks_are_those_of_uax_29(text: str) -> None:
    plain = text.replace("3", "x").replace("'", ",")  # the numbers of list items and quotations are tailored
    assert sentence_ends(plain) == list(accumulate(map(len, uniseg.sentencebreak.sentences(plain))))


@given(PROSE | st.text("ab'’_\".,:3ア水пёहिन्दी한ไท👍🏽 ", max_size=20))
def test_words_are_those_of_uax_29(text: str) -> None:
    plain = re.sub("[ぁ-ゟ]", "x", text)  # runs of hiragana are tailored
    found, expected = (
        [word for word in each if any(c.isalpha() or c.isnumeric() for c in word)]
        for each in (words(plain), uniseg.wordbreak.words(plain))
    )
    assert found == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("It depends on the soil.", "en"),
        ("Non, je ne peux pas.", "fr"),
        ("我是小雨。", "zh"),
        ("繁體中文的句子。", "zh"),
        ("日本語です", "ja"),
        ("Ich weiß es nicht.", "de"),
        ("Voici la fonction demandée :\n```python\nfor name in names: print(name)\n```", "fr"),
    ],
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    assert detect_language(text) == code


@pytest.mark.parametrize("text", ["", "42 km", "ok", "!!!", "https://example.org/bonjour-le-monde"])
def test_what_is_too_short_to_tell_is_undetermined(text: str) -> None:
    assert detect_language(text) == UNKNOWN


def test_every_detectable_language_has_a_name() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    detectable = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert set(LANGUAGES) <= set(detectable)
    assert {code for code in detectable if len(code) == 2} - set(LANGUAGES) == {"nn"}  # Nynorsk: `no` stands for both
    assert all(before < after for before, after in pairwise(LANGUAGES))
    assert language_name("fr") == "French"
    assert language_name("xx") == "xx"


def test_the_detector_is_not_loaded_by_an_import() -> None:
    code = "import sys, ethos.spec.parse; print('py3langid' in sys.modules, 'numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def test_a_long_blank_to_fill_in_is_gone_through_once() -> None:
    assert words("Sign here: " + "_" * 200_000 + " Thanks") == ["Sign", "here", "Thanks"]  # else it takes an hour
