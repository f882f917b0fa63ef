"""Talking to an endpoint: what is refused is said and forgotten, and connections end with the conversation."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterator, Sequence

import pytest

from endpoint_server import EndpointServer, fails, says
from ethos.cli.chat import talk
from ethos.errors import EthosError
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import QuietProgress
from ethos.runs.chat import open_chat
from ethos.spec.conversation import Conversation


class Counts:
    """Says how many messages it was shown."""

    name, fingerprint = "counts", "counts"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        return [Sample(f"message {len(prompt.messages)}", "stop", Usage(1, 1), draw) for draw in draws]


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with EndpointServer(Counts()) as running:
        yield running


def chat(server: EndpointServer, monkeypatch: pytest.MonkeyPatch, *messages: str) -> None:
    said = io.TextIOWrapper(io.BytesIO("\n".join(messages).encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", said)
    talk(open_chat(f"openai:{server.address}/v1#m", QuietProgress()), max_tokens=8, temperature=0.0)


def withheld() -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}


def test_a_reply_that_is_withheld_is_said_on_stderr_and_leaves_no_turn(
    server: EndpointServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.append(says(withheld()))
    chat(server, monkeypatch, "hello", "how are you?", "good")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["message 1", "message 3"]
    [said] = shown.err.splitlines()
    assert "the reply was withheld; loosen the endpoint's filter" in said
    asked = [[turn["content"] for turn in request.body["messages"]] for request in server.requests]
    assert asked == [["hello"], ["how are you?"], ["how are you?", "message 1", "good"]]


def test_a_request_that_is_refused_is_said_and_forgotten_as_well(
    server: EndpointServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.filtered = ("umbrella",)
    chat(server, monkeypatch, "an umbrella?", "hello")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["message 1"]
    assert "400: the prompt was filtered" in shown.err


@pytest.mark.parametrize("ends_with_an_error", [False, True])
def test_connections_are_closed_when_the_conversation_ends(
    server: EndpointServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ends_with_an_error: bool,
) -> None:
    if ends_with_an_error:
        server.faults.append(fails(404, "no such model"))
        with pytest.raises(EthosError, match="no such model"):
            chat(server, monkeypatch, "hello")
    else:
        chat(server, monkeypatch, "hello")
    gc.collect()
    assert [record.message for record in caplog.records if "Unclosed" in record.message] == []
