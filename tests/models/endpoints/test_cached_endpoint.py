"""An endpoint's answers through the cache: stored as they came, and read again each time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint_server import EndpointServer, fails
from ethos.models.cached import CachedSampler, cached
from ethos.models.catalogue import OPENAI_KEY, resolve
from ethos.models.endpoints import OpenAIEndpoint, RetryPolicy
from ethos.models.types import SamplingParams
from ethos.spec.conversation import Conversation
from ethos.store.cache import ResponseCache
from ethos.store.database import RUN_SCHEMA, Database
from ethos.store.ledger import Ledger

PROMPT = Conversation.user("<think>Hm.</think>Hello there")
PARAMS = SamplingParams(max_tokens=7)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    opened = ResponseCache(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Database.open(tmp_path / "run.db", RUN_SCHEMA) as database:
        yield Ledger(database)


@pytest.fixture
def teacher(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> CachedSampler[OpenAIEndpoint]:
    monkeypatch.setenv(OPENAI_KEY, server.key or "")
    endpoint = OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path()), RetryPolicy(first_wait_s=0.001))
    return cached(endpoint, cache, ledger, "teacher")


def test_the_body_is_stored_and_read_again(
    teacher: CachedSampler[OpenAIEndpoint],
    server: EndpointServer,
    cache: ResponseCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever mends how thinking is split off, or what ends a reply, needs no new call."""

    async def story() -> None:
        [first] = await teacher.sample(PROMPT, PARAMS)
        assert (first.text, first.thinking, first.raw) == ("Hello there", "Hm.", None)
        stored = json.loads(cache.get(first.call) or "")
        assert json.loads(stored["raw"])["choices"][0]["message"]["content"] == PROMPT.last_user
        monkeypatch.setattr("ethos.models.endpoints.openai.split_thinking", lambda text: (None, text.upper()))
        [again] = await teacher.sample(PROMPT, PARAMS)
        assert (again.text, again.call, again.usage) == (PROMPT.last_user.upper(), first.call, first.usage)
        await teacher.model.close()

    asyncio.run(story())
    assert len(server.requests) == 1


@pytest.mark.parametrize("tells", [True, False])
def test_what_is_told_of_a_first_token_is_stored_too(
    teacher: CachedSampler[OpenAIEndpoint], server: EndpointServer, tells: bool
) -> None:
    async def story() -> None:
        if not tells:
            server.faults.append(fails(400, "logprobs are not supported"))
        first, again = [await teacher.first_token_logprobs(PROMPT, ("Yes", "No")) for _ in range(2)]  # type: ignore[attr-defined]
        assert first == again
        assert (first is not None) == tells
        await teacher.model.close()

    asyncio.run(story())
    assert len(server.requests) == 1
