import pytest

from ethos.models.thinking import split_thinking


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>\nBees fly.\n</think>\n\nYes.", "Bees fly.", "Yes."),
        ("  <think></think> Yes.", "", "Yes."),
        ("Bees fly.</think>Yes.", "Bees fly.", "Yes."),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
    ],
)
def test_thinking_is_parsed_apart(text: str, thinking: str, answer: str) -> None:
    assert split_thinking(text) == (thinking, answer)


@pytest.mark.parametrize("text", [" Yes, with spaces kept. ", "", "Write <think> and </think> around it."])
def test_a_reply_without_thinking_comes_back_as_it_is(text: str) -> None:
    assert split_thinking(text) == (None, text)


def test_unclosed_thinking_leaves_an_empty_reply() -> None:
    assert split_thinking("<think>I wonder whether") == ("I wonder whether", "")
