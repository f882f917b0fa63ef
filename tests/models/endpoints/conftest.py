"""A sampler that echoes, behind the server of the endpoints' protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from endpoint_server import EndpointServer
from ethos.models.catalogue import ANTHROPIC_KEY, ANTHROPIC_URL, OPENAI_KEY, resolve
from ethos.models.endpoints import Endpoint, Limits, RetryPolicy, open_endpoint
from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation

KEY = "sk-sesame-0123456789"
QUICK = RetryPolicy(attempts=3, first_wait_s=0.001, timeout_s=5)


class Echo:
    """Says the last user turn again, cut to `max_tokens` words; likes the word Yes."""

    name, fingerprint = "echo", "echo"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        words = prompt.last_user.split(" ")
        said = words[: params.max_tokens]
        usage = Usage(sum(len(m.content.split()) for m in prompt.messages), len(said))
        finish_reason = "length" if len(said) < len(words) else "stop"
        return [Sample(" ".join(said), finish_reason, usage, draw) for draw in draws]

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        return [TokenLogprobs((0,), (-0.25 if reply.strip() == "Yes" else -2.0,)) for reply in replies]


@pytest.fixture(scope="session")
def _running_server() -> Iterator[EndpointServer]:
    with EndpointServer(Echo(), words=("Yes", " Yes", "No")) as running:
        yield running


@pytest.fixture
def server(_running_server: EndpointServer) -> EndpointServer:
    """Nothing asked yet, nothing to go wrong, and one key that is let in."""
    _running_server.requests.clear()
    _running_server.faults.clear()
    _running_server.most_at_once, _running_server.key, _running_server.pause_s = 0, KEY, 0.0
    return _running_server


Connect = Callable[..., Endpoint]


@pytest.fixture(params=["openai", "anthropic"])
def connect(request: pytest.FixtureRequest, server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Makes the endpoint of either vendor at the server."""
    monkeypatch.setenv(OPENAI_KEY, KEY)
    monkeypatch.setenv(ANTHROPIC_KEY, KEY)
    monkeypatch.setenv(ANTHROPIC_URL, server.address)
    name = {"openai": f"openai:{server.address}/v1#m", "anthropic": "anthropic:m"}[request.param]

    def make(retries: RetryPolicy = QUICK, limits: Limits = Limits()) -> Endpoint:  # noqa: B008
        return open_endpoint(resolve(name, Path()), retries, limits)

    return make
