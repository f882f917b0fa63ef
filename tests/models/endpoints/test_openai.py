import math
from pathlib import Path

import pytest

from endpoint_server import EndpointServer, answered, fails, says
from ethos.errors import EthosError
from ethos.models.catalogue import ANTHROPIC_KEY, OPENAI_KEY, Entry, Remote, resolve
from ethos.models.endpoints import OpenAIEndpoint, RetryPolicy
from ethos.models.endpoints.openai import MISSES
from ethos.models.types import SamplingParams, Usage
from ethos.spec.conversation import Conversation

PROMPT = Conversation.user("Is it kind?")


@pytest.fixture
def endpoint(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIEndpoint:
    monkeypatch.setenv(OPENAI_KEY, server.key or "")
    return OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path()), RetryPolicy(first_wait_s=0.001))


def first_token(endpoint: OpenAIEndpoint, *candidates: str) -> list[float] | None:
    return answered(endpoint, endpoint.first_token_logprobs(PROMPT, candidates))


def test_the_first_token_is_read_in_the_candidates_order(endpoint: OpenAIEndpoint) -> None:
    no, yes = first_token(endpoint, "No", "Yes") or []
    assert no == pytest.approx(-2.0)
    assert yes == pytest.approx(math.log(2 * math.exp(-0.25)))  # with and without a space before it


def test_a_candidate_that_is_not_among_the_likeliest_has_no_probability(endpoint: OpenAIEndpoint) -> None:
    assert first_token(endpoint, "Maybe") == [-math.inf]


def test_a_candidate_in_pieces_is_known_by_the_piece_that_no_other_begins_with(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    top = [("O", -0.5), ("Non", -1.0), ("No", -2.0), ("", -3.0), ("x", None)]
    told = {"content": [{"token": "O", "top_logprobs": [{"token": t, "logprob": p} for t, p in top]}]}
    server.faults.append(says({"choices": [{"message": {"content": "O"}, "logprobs": told}]}))
    assert first_token(endpoint, "Oui", "Non") == pytest.approx([-0.5, -1.0])


def test_a_log_probability_above_zero_is_taken_for_certain(endpoint: OpenAIEndpoint, server: EndpointServer) -> None:
    told = {"content": [{"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": 1000.0}]}]}
    server.faults.append(says({"choices": [{"message": {"content": "Yes"}, "logprobs": told}]}))
    assert first_token(endpoint, "Yes") == [0.0]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": None}])
def test_a_server_may_count_no_tokens(endpoint: OpenAIEndpoint, server: EndpointServer, usage: object) -> None:
    server.faults.append(says({"choices": [{"message": {"content": "Yes."}}], "usage": usage}))
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.text, drawn.usage) == ("Yes.", Usage(0, 0))


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}, {"content": [{"token": "Yes"}]}])
def test_an_endpoint_without_logprobs_gives_none(
    endpoint: OpenAIEndpoint, server: EndpointServer, logprobs: object
) -> None:
    server.faults.append(says({"choices": [{"message": {"content": "Yes"}, "logprobs": logprobs}]}))
    assert first_token(endpoint, "Yes", "No") is None


def test_an_endpoint_that_refuses_to_tell_logprobs_is_asked_for_them_once(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    server.faults.append(fails(400, "logprobs are not supported with this model"))
    assert first_token(endpoint, "Yes", "No") is None
    assert first_token(endpoint, "Yes", "No") is None
    assert len(server.requests) == 1


def test_a_model_that_begins_with_something_else_is_no_longer_asked_for_logprobs(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    for _ in range(MISSES):
        assert first_token(endpoint, "Maybe") == [-math.inf]
    assert first_token(endpoint, "Maybe") is None
    assert len(server.requests) == MISSES


def test_a_model_that_began_with_a_candidate_once_goes_on_being_asked(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    for candidate in ["Maybe"] * (MISSES - 1) + ["Yes"] + ["Maybe"] * MISSES:
        assert first_token(endpoint, candidate) is not None
    assert len(server.requests) == 2 * MISSES


def test_a_default_is_not_sent_and_draws_have_seeds_of_their_own(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    answered(endpoint, endpoint.sample(PROMPT, SamplingParams(max_tokens=7), draws=(0, 1)))
    bodies = [asked.body for asked in server.requests]
    assert bodies[0].keys() == {"model", "messages", "max_tokens", "seed"}
    assert bodies[0]["seed"] != bodies[1]["seed"]


def test_every_parameter_arrives(endpoint: OpenAIEndpoint, server: EndpointServer) -> None:
    params = SamplingParams(max_tokens=7, temperature=0.0, top_p=0.5, top_k=3, stop=("END",), seed=1)
    answered(endpoint, endpoint.sample(PROMPT, params))
    asked = server.requests[0].body
    assert (asked["max_tokens"], asked["temperature"], asked["top_p"], asked["top_k"]) == (7, 0.0, 0.5, 3)
    assert asked["stop"] == ["END"]


def test_openais_own_models_get_the_new_name_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPENAI_KEY, "sesame")
    own = OpenAIEndpoint(Entry("o", "openai", Remote("m", "https://api.openai.com/v1")))
    other = OpenAIEndpoint(Entry("o", "openai", Remote("m", "https://notopenai.com/v1")))
    assert own._limit(7) == {"max_completion_tokens": 7}
    assert other._limit(7) == {"max_tokens": 7}


def test_a_refusal_is_no_reply(endpoint: OpenAIEndpoint, server: EndpointServer) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I won't."}
    server.faults.append(says({"choices": [{"message": message, "finish_reason": "stop"}]}))
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.text, drawn.finish_reason) == ("", "refused")
    assert "the reply was withheld (I won't.); loosen the endpoint's filter" in drawn.refusal


@pytest.mark.parametrize("content", [None, "It is kind when it"])
def test_a_filtered_reply_is_no_reply(endpoint: OpenAIEndpoint, server: EndpointServer, content: str | None) -> None:
    server.faults.append(says({"choices": [{"message": {"content": content}, "finish_reason": "content_filter"}]}))
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.text, drawn.finish_reason) == ("", "refused")


def test_reasoning_that_comes_in_a_field_of_its_own_is_thinking(
    endpoint: OpenAIEndpoint, server: EndpointServer
) -> None:
    server.faults.append(says({"choices": [{"message": {"content": "Yes.", "reasoning_content": "Hm."}}]}))
    (drawn,) = answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))
    assert (drawn.thinking, drawn.text) == ("Hm.", "Yes.")


def test_a_server_on_this_machine_needs_no_key(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPENAI_KEY, raising=False)
    server.key = None
    endpoint = OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path()))
    assert answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))[0].text == "Is it kind?"


@pytest.mark.parametrize(
    ("key", "shown"), [("token", "token"), ("none-needed", "none-needed"), ("sk-test-12", "[key]"), ("a" * 12, "[key]")]
)
def test_a_stand_in_for_a_key_is_no_secret_and_a_short_key_is(
    server: EndpointServer, monkeypatch: pytest.MonkeyPatch, key: str, shown: str
) -> None:
    server.key = key
    monkeypatch.setenv(OPENAI_KEY, key)
    endpoint = OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path()))
    (drawn,) = answered(endpoint, endpoint.sample(Conversation.user(f"It is {key} here"), SamplingParams()))
    assert drawn.text == f"It is {shown} here"


def test_another_kind_of_entry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, "sesame")
    with pytest.raises(EthosError, match="openai:BASE_URL#MODEL"):
        OpenAIEndpoint(resolve("anthropic:m", Path()))


def test_a_wrong_path_says_what_the_server_says(endpoint: OpenAIEndpoint, server: EndpointServer) -> None:
    server.faults.append(fails(404, "no route /chat"))
    with pytest.raises(EthosError, match="no route /chat"):
        answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))


def test_two_servers_are_sent_a_key_each(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPENAI_KEY, "the-key-of-another")
    monkeypatch.setenv("SECOND_KEY", "sesame-of-this-one")
    server.key = "sesame-of-this-one"
    endpoint = OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path(), "SECOND_KEY"))
    assert answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))[0].text == "Is it kind?"
    server.key = "another by now"
    with pytest.raises(EthosError, match=r"refuses the key \(401\); put one that it takes in SECOND_KEY"):
        answered(endpoint, endpoint.sample(PROMPT, SamplingParams()))


def test_a_key_that_is_asked_for_by_name_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECOND_KEY", raising=False)
    for name in ("openai:http://localhost:1/v1#m", "anthropic:m"):
        with pytest.raises(EthosError, match="SECOND_KEY isn't set; export it and run again"):
            resolve(name, Path(), "SECOND_KEY")
