"""Both endpoints against a server over the real 135M engine: they get what the engine gives when asked directly."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from endpoint_server import EndpointServer, answered
from ethos.models.catalogue import ANTHROPIC_KEY, ANTHROPIC_URL, OPENAI_KEY, resolve
from ethos.models.endpoints import AnthropicEndpoint, Endpoint, OpenAIEndpoint
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.templates import ChatTemplate
from ethos.models.types import Sample, SamplingParams, TokenLogprobs
from ethos.models.worker import compute_worker
from ethos.spec.conversation import Conversation

pytestmark = pytest.mark.model

GREEDY = SamplingParams(max_tokens=24, temperature=0.0)
PROMPTS = (
    Conversation.user("What is the capital of France?"),
    Conversation.user("Name three birds.", system="You answer in one line."),
    Conversation.user("How are you?").then("assistant", "Well, thank you.").then("user", "And what do you do?"),
)
WORDS = ("Yes", "No", "The", "Sure")


@dataclass(frozen=True)
class Greedy:
    """The engine at temperature 0 whatever is asked: Anthropic's protocol has no temperature any more."""

    engine: Engine
    name: str = "greedy"
    fingerprint: str = "greedy"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        return await self.engine.sample(prompt, replace(params, temperature=0.0), draws)

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """As `Scorer`."""
        return await self.engine.score(prompt, replies)


def engine_on(directory: Path) -> Engine:
    loaded = load(directory)
    return Engine("smollm2", "smollm2", loaded, ChatTemplate(loaded.tokenizer, None), compute_worker(1))


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Engine:
    return engine_on(smollm2)


@pytest.fixture(scope="module")
def server(smollm2: Path) -> Iterator[EndpointServer]:
    """Over an engine of its own, as an engine serves one event loop."""
    with EndpointServer(Greedy(engine_on(smollm2)), words=WORDS) as running:
        yield running


@pytest.fixture
def openai(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIEndpoint:
    monkeypatch.setenv(OPENAI_KEY, "none")
    return OpenAIEndpoint(resolve(f"openai:{server.address}/v1#smollm2", Path()))


@pytest.fixture
def anthropic(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> AnthropicEndpoint:
    monkeypatch.setenv(ANTHROPIC_KEY, "none")
    monkeypatch.setenv(ANTHROPIC_URL, server.address)
    return AnthropicEndpoint(resolve("anthropic:smollm2", Path()))


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_endpoint_gives_the_text_and_usage_of_the_engine(
    vendor: str, prompt: Conversation, engine: Engine, request: pytest.FixtureRequest
) -> None:
    endpoint: Endpoint = request.getfixturevalue(vendor)
    [direct] = asyncio.run(engine.sample(prompt, GREEDY))
    [through] = answered(endpoint, endpoint.sample(prompt, GREEDY))
    assert through.text == direct.text
    assert through.finish_reason == direct.finish_reason
    assert through.usage == direct.usage
    assert direct.token_ids is not None
    assert through.usage.completion_tokens == len(direct.token_ids)
    assert through.usage.prompt_tokens == len(engine.template.prompt(prompt))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_first_tokens_logprobs_are_those_of_teacher_forcing(
    prompt: Conversation, engine: Engine, openai: OpenAIEndpoint
) -> None:
    direct = [scored.total for scored in asyncio.run(engine.score(prompt, WORDS))]
    through = answered(openai, openai.first_token_logprobs(prompt, [*WORDS, "Zyzzyva"]))
    assert through is not None
    assert through[:-1] == pytest.approx(direct, abs=1e-6)
    assert through[-1] == -math.inf


def test_the_likeliest_first_token_is_what_greedy_decoding_takes(engine: Engine) -> None:
    [prompt, *_] = PROMPTS
    [sample] = asyncio.run(engine.sample(prompt, GREEDY))
    assert sample.token_ids is not None
    first = engine.template.decode(sample.token_ids[:1])
    [chosen, *others] = asyncio.run(engine.score(prompt, [first, *(word for word in WORDS if word != first)]))
    assert chosen.logprobs[0] > max(other.logprobs[0] for other in others)
