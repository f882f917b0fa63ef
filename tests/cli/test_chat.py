import io
import sys

import pytest
from tests.cli.conftest import Ethos

from ethos.cli.chat import talk
from ethos.errors import EthosError
from ethos.spec.conversation import Conversation
from ethos.store.run_directory import RunDirectory


class Counter:
    """Replies with how many messages it was shown, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float]] = []
        self.is_closed = False

    async def reply(self, conversation: Conversation, max_tokens: int, temperature: float) -> str:
        self.asked.append((conversation.last_user, max_tokens, temperature))
        return f"{len(conversation.messages)}\x1b[2J"

    async def close(self) -> None:
        self.is_closed = True


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_a_line_is_a_message_and_the_conversation_grows_until_it_is_reset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, "hello\n\n  how are you, 好?\n/reset\nwho are you?".encode())
    partner = Counter()
    talk(partner, max_tokens=8, temperature=0.5)
    assert partner.asked == [("hello", 8, 0.5), ("how are you, 好?", 8, 0.5), ("who are you?", 8, 0.5)]
    assert capsys.readouterr().out.splitlines() == ["1[2J", "3[2J", "1[2J"]


def test_quit_ends_before_the_input_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"/quit\nhello\n")
    partner = Counter()
    talk(partner, max_tokens=8, temperature=0)
    assert partner.asked == []
    assert partner.is_closed


def test_input_that_is_no_text_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"hello\n\xff\xfe\n")
    with pytest.raises(EthosError, match="isn't UTF-8 text"):
        talk(Counter(), max_tokens=8, temperature=0)


def test_a_run_that_is_not_trained_yet_has_nobody_to_talk_to(ethos: Ethos, stopped_run: RunDirectory) -> None:
    ended = ethos("chat", "wren")
    assert ended.code == 1
    assert ended.err.startswith("error: runs/wren")


def test_a_name_that_is_too_long_is_one_sentence(ethos: Ethos) -> None:
    for name in ("m" * 300, f"hf:{'m' * 300}"):
        ended = ethos("chat", name)
        assert ended.code == 1
        assert ended.err.count("\n") == 1
        assert ended.err.startswith("error: ")
