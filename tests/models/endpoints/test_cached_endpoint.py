"""An endpoint's answers through the cache: stored as they came, and read again each time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from endpoint_server import EndpointServer, answered, fails, says
from ethos.errors import EthosError
from ethos.models.cached import CachedFirstTokenSampler, CachedSampler, cached
from ethos.models.catalogue import OPENAI_KEY, resolve
from ethos.models.endpoints import Limits, OpenAIEndpoint, RetryPolicy
from ethos.models.endpoints.limits import DEFAULT_LIMITS
from ethos.models.estimates import estimated_tokens
from ethos.models.refusals import Refusals
from ethos.models.types import RequestRefused, Sample, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.store.budget import Budget
from ethos.store.cache import ResponseCache
from ethos.store.config.run import BudgetConfig
from ethos.store.ledger import Ledger

PROMPT = Conversation.user("<think>Hm.</think>Hello there")
PARAMS = SamplingParams(max_tokens=7)


@pytest.fixture(autouse=True)
def _key(server: EndpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPENAI_KEY, server.key or "")


def endpoint(server: EndpointServer, limits: Limits = DEFAULT_LIMITS) -> OpenAIEndpoint:
    return OpenAIEndpoint(resolve(f"openai:{server.address}/v1#m", Path()), RetryPolicy(first_wait_s=0.001), limits)


@pytest.fixture
def teacher(server: EndpointServer, cache: ResponseCache, ledger: Ledger) -> CachedSampler[OpenAIEndpoint]:
    return cached(endpoint(server), cache, ledger, "teacher")


@pytest.fixture
def judge(server: EndpointServer, cache: ResponseCache, ledger: Ledger) -> CachedFirstTokenSampler:
    return CachedFirstTokenSampler(endpoint(server), cache, ledger, "judge")


async def twice(judge: CachedFirstTokenSampler) -> list[list[float] | None]:
    """The same question asked twice, on one event loop."""
    try:
        return [await judge.first_token_logprobs(PROMPT, ("Yes", "No")) for _ in range(2)]
    finally:
        await judge.model.close()  # type: ignore[attr-defined]


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


def test_what_is_told_of_a_first_token_is_stored_too(judge: CachedFirstTokenSampler, server: EndpointServer) -> None:
    first, again = asyncio.run(twice(judge))
    assert first is not None
    assert first == again
    assert len(server.requests) == 1


def test_a_refusal_to_tell_is_no_answer_and_is_not_stored(
    judge: CachedFirstTokenSampler, server: EndpointServer, cache: ResponseCache, ledger: Ledger
) -> None:
    server.faults.append(fails(400, "logprobs are not supported with this model"))
    assert asyncio.run(twice(judge)) == [None, None]
    assert len(server.requests) == 1
    assert ledger.total().calls == 0
    another = CachedFirstTokenSampler(endpoint(server), cache, ledger, "judge")
    assert None not in asyncio.run(twice(another))


def test_a_prompt_that_is_refused_says_nothing_of_the_next(
    judge: CachedFirstTokenSampler, server: EndpointServer
) -> None:
    server.faults.append(fails(400, "this prompt was filtered"))
    with pytest.raises(RequestRefused, match="this prompt was filtered"):
        asyncio.run(twice(judge))
    assert None not in asyncio.run(twice(judge))


def test_a_refused_draw_says_so_costs_nothing_and_is_not_stored(
    teacher: CachedSampler[OpenAIEndpoint], server: EndpointServer, cache: ResponseCache, ledger: Ledger
) -> None:
    async def story() -> tuple[list[Sample], list[Sample]]:
        await teacher.sample(PROMPT, PARAMS, (0,))
        server.faults.append(fails(400, "this prompt was filtered"))
        first, again = [await teacher.sample(PROMPT, PARAMS, (0, 1)) for _ in range(2)]
        await teacher.model.close()
        return first, again

    first, again = asyncio.run(story())
    assert [(s.draw, s.text, s.finish_reason) for s in first] == [(0, "Hello there", "stop"), (1, "", "refused")]
    assert "this prompt was filtered" in first[1].refusal
    assert [s.finish_reason for s in again] == ["stop", "stop"]
    assert again[1].refusal == ""
    assert ledger.total().calls - ledger.total().cached == 2


def test_a_withheld_reply_is_a_refusal_that_is_paid_once_and_noted(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger
) -> None:
    notes: list[str] = []
    teacher = CachedSampler(endpoint(server), cache, ledger, "teacher", refusals=Refusals(notes.append))
    withheld = {"choices": [{"message": {"content": "It"}, "finish_reason": "content_filter"}]}
    server.faults.append(says(withheld))

    async def story() -> list[Sample]:
        found = [*await teacher.sample(PROMPT, PARAMS), *await teacher.sample(PROMPT, PARAMS)]
        await teacher.model.close()
        return found

    assert [(s.text, s.finish_reason) for s in asyncio.run(story())] == [("", "refused")] * 2
    assert ledger.total().calls - ledger.total().cached == len(server.requests) == 1
    [note] = notes
    assert "the reply was withheld; loosen the endpoint's filter" in note


@pytest.mark.parametrize(("answered", "stops"), [(0, True), (7, True), (8, False)])
def test_where_most_requests_of_a_kind_are_refused_the_endpoints_own_sentence_ends_it(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger, answered: int, stops: bool
) -> None:
    """Those that the cache answers count: a next sitting asks again for what was refused alone."""

    async def story() -> None:
        for draws, refused in ((range(answered), 0), (range(answered + 8), 8)):
            sitting = cached(endpoint(server), cache, ledger, "teacher")
            server.faults.extend([fails(400, "this model takes no seed")] * refused)
            try:
                drawn = await sitting.sample(PROMPT, PARAMS, draws)
            finally:
                await sitting.model.close()
            assert [s.finish_reason for s in drawn] == ["stop"] * answered + ["refused"] * refused

    if stops:
        with pytest.raises(EthosError, match="400: this model takes no seed") as raised:
            asyncio.run(story())
        assert not isinstance(raised.value, RequestRefused)
    else:
        asyncio.run(story())


def test_requests_with_other_settings_are_another_kind_and_its_first_refusal_is_noted(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger
) -> None:
    noted: list[str] = []
    teacher = cached(endpoint(server), cache, ledger, "teacher", refusals=Refusals(noted.append))

    async def story() -> None:
        await teacher.sample(PROMPT, PARAMS, range(20))
        server.faults.extend([fails(400, "at most 1024 tokens")] * 9)
        try:
            await teacher.sample(PROMPT, SamplingParams(max_tokens=2048), range(9))
        finally:
            await teacher.model.close()

    with pytest.raises(EthosError, match="at most 1024 tokens"):
        asyncio.run(story())
    assert len(noted) == 1
    assert "at most 1024 tokens" in noted[0]


def test_what_is_under_way_when_all_is_settled_is_in_ledger_and_cache_and_nothing_else_is_asked(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger, tmp_path: Path
) -> None:
    """Of six calls two are sent, two wait for a slot, and two for the budget."""
    server.pause_s = 0.2
    most = estimated_tokens(PROMPT) + PARAMS.max_tokens
    budget = Budget(BudgetConfig(tokens=4 * most))

    async def story() -> None:
        teacher = cached(endpoint(server, Limits(concurrency=2)), cache, ledger, "teacher", budget)
        calls = [asyncio.create_task(teacher.sample(PROMPT, PARAMS, (draw,))) for draw in range(6)]
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        teacher.model.stop()
        await asyncio.wait_for(cache.settle(), timeout=30)
        await teacher.model.close()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError] * 6

    asyncio.run(story())
    assert len(server.requests) == ledger.total().calls == 2
    reopened = ResponseCache(tmp_path)
    again = cached(endpoint(server), reopened, ledger, "teacher")
    assert len(answered(again.model, again.sample(PROMPT, PARAMS, (0, 1)))) == 2
    assert len(server.requests) == 2
    reopened.close()


def test_while_the_gate_is_closed_no_request_is_begun_not_even_one_that_waits_its_turn(
    server: EndpointServer, cache: ResponseCache, ledger: Ledger
) -> None:
    async def story() -> None:
        inner = endpoint(server, Limits(concurrency=1))
        inner.gate = asyncio.Event()
        held = cached(inner, cache, ledger, "teacher")
        asked = asyncio.create_task(held.sample(PROMPT, PARAMS, (0, 1, 2)))
        await asyncio.sleep(0.1)
        assert server.requests == []
        inner.gate.set()
        while not server.requests:
            await asyncio.sleep(0.001)
        inner.gate.clear()
        await asyncio.sleep(0.1)
        begun = len(server.requests)
        assert begun < 3
        await asyncio.sleep(0.1)
        assert len(server.requests) == begun
        inner.gate.set()
        assert len(await asked) == 3
        await inner.close()

    asyncio.run(story())
