from pathlib import Path

import pytest

from endpoint_server import EndpointServer, answered, says
from ethos.errors import EthosError
from ethos.models.catalogue import ANTHROPIC_KEY, ANTHROPIC_URL, Entry, Remote, resolve
from ethos.models.endpoints import AnthropicEndpoint
from ethos.models.types import SamplingParams, Usage
from ethos.spec.conversation import Conversation, Message

PROMPT = Conversation.user("Is it kind?", system="Be brief.")


@pytest.fixture
def endpoint(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> AnthropicEndpoint:
    monkeypatch.setenv(ANTHROPIC_KEY, server.key or "")
    monkeypatch.setenv(ANTHROPIC_URL, server.address)
    return AnthropicEndpoint(resolve("anthropic:m", Path()))


def test_system_messages_stand_apart(endpoint: AnthropicEndpoint, server: EndpointServer) -> None:
    prompt = Conversation((*PROMPT.messages, Message("system", "And kind.")))
    answered(endpoint, endpoint.sample(prompt, SamplingParams(max_tokens=7)))
    assert server.requests[0].body == {
        "model": "m",
        "system": "Be brief.\n\nAnd kind.",
        "messages": [{"role": "user", "content": "Is it kind?"}],
        "max_tokens": 7,
    }


def test_what_the_vendor_refuses_is_left_out_with_one_warning(
    endpoint: AnthropicEndpoint, server: EndpointServer, caplog: pytest.LogCaptureFixture
) -> None:
    params = SamplingParams(max_tokens=7, temperature=0.0, top_p=0.5, top_k=3, stop=("END",))
    answered(endpoint, endpoint.sample(PROMPT, params, draws=(0, 1)))
    assert server.requests[0].body.keys() == {"model", "system", "messages", "max_tokens", "stop_sequences"}
    assert server.requests[0].body["stop_sequences"] == ["END"]
    assert [record.levelname for record in caplog.records if "temperature" in record.message] == ["WARNING"]


def test_thinking_blocks_are_thinking_and_cached_tokens_are_counted(
    endpoint: AnthropicEndpoint, server: EndpointServer
) -> None:
    content = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Yes."}]
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 10, "cache_creation_input_tokens": None}
    server.faults.append(says({"content": content, "stop_reason": "end_turn", "usage": usage}))
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.thinking, drawn.text, drawn.usage) == ("Hm.", "Yes.", Usage(13, 2))


def test_a_refusal_is_no_reply(endpoint: AnthropicEndpoint, server: EndpointServer) -> None:
    server.faults.append(
        says(
            {
                "content": [{"type": "text", "text": "It"}],
                "stop_reason": "refusal",
                "usage": {"input_tokens": 3, "output_tokens": 0},
            }
        )
    )
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.text, drawn.finish_reason) == ("", "refused")


def test_without_a_key_there_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ANTHROPIC_KEY, raising=False)
    with pytest.raises(EthosError, match=ANTHROPIC_KEY):
        AnthropicEndpoint(Entry("anthropic:m", "anthropic", Remote("m", None)))
