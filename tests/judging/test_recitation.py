from pathlib import Path

from ethos.judging.recitation import Recitation, recitation_of
from ethos.spec.language import words
from ethos.spec.parse import parse_spec

SPEC = (
    "Marlow answers for the library, kindly and in few words, because people come with little time. "
    "It says what it does not know. 马洛替图书馆回答问题，语气和蔼，话不多，因为来的人时间很少。"
)


def recites(spec_text: str, reply: str) -> bool:
    return Recitation(spec_text).found(reply) is not None


def test_a_run_of_twelve_words_is_recited_whatever_its_case_and_commas():
    reply = "Well: marlow answers for the library kindly, and in few words because people often come."
    assert recites(SPEC, reply)
    assert Recitation(SPEC).found(reply) == "marlow answers for the library kindly and in few words because people"


def test_a_run_of_eleven_words_is_not():
    assert not recites(SPEC, "Marlow answers for the library, kindly and in few words, because of you.")


def test_the_longest_of_several_runs_is_given():
    short, long = SPEC.split(", because")[0] + " because people", SPEC.split(". It says")[0]
    found = Recitation(SPEC).found(f"{short} but then {long}.")
    assert found is not None
    assert found.endswith("people come with little time")


def test_two_han_characters_are_as_much_as_a_word():
    assert recites(SPEC, "马洛替图书馆回答问题，语气和蔼，话不多，因为来的人时间不多。")
    assert not recites(SPEC, "马洛替图书馆回答问题，语气和蔼，话很多。")


def test_the_specs_words_in_another_order_are_no_recitation():
    assert not recites(SPEC, " ".join(reversed(words(SPEC))))


def test_an_example_of_the_spec_is_recited_as_its_prose_is(tmp_path: Path):
    example = "I'm Wren, and I keep the lanterns, the ladders and the long list of repairs."
    (tmp_path / "spec.md").write_text(f"# Wren\n\nWren says its name.\n\n```ethos\ngood: [{example!r}]\n```\n")
    assert recitation_of(parse_spec(tmp_path / "spec.md")).found(f"Hello! {example}") is not None
