"""What both vendors' endpoints do alike, over their own SDKs and a real connection."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from endpoint_server import EndpointServer, Fault, answered, drips, fails, hangs, says
from ethos.errors import EthosError
from ethos.models.cached import cached
from ethos.models.catalogue import ANTHROPIC_KEY, Entry, Remote
from ethos.models.endpoints import AnthropicEndpoint, Endpoint, EndpointFailed, Limits, OpenAIEndpoint, RetryPolicy
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.store.cache import ResponseCache
from ethos.store.database import RUN_SCHEMA, Database
from ethos.store.ledger import Ledger

PROMPT = Conversation.user("bees make honey", system="Be brief.")
PARAMS = SamplingParams(max_tokens=99)
KEY = "sk-sesame-0123456789"
Connect = Callable[..., Endpoint]


def sample(
    endpoint: Endpoint, prompt: Conversation = PROMPT, max_tokens: int = 99, draws: Sequence[int] = (0,)
) -> list[Sample]:
    return answered(endpoint, endpoint.sample(prompt, SamplingParams(max_tokens=max_tokens), draws))


def test_a_reply_comes_with_its_usage(connect: Connect) -> None:
    assert sample(connect()) == [Sample("bees make honey", "stop", Usage(5, 3), 0)]


def test_a_cut_reply_says_so(connect: Connect) -> None:
    (cut,) = sample(connect(), max_tokens=2)
    assert (cut.text, cut.finish_reason) == ("bees make", "length")


def test_each_draw_is_a_request_of_its_own(connect: Connect, server: EndpointServer) -> None:
    assert [s.draw for s in sample(connect(), draws=(4, 2, 9))] == [4, 2, 9]
    assert len(server.requests) == 3


def test_thinking_is_parsed_apart(connect: Connect) -> None:
    (drawn,) = sample(connect(), Conversation.user("<think>Hm.</think>Yes."))
    assert (drawn.thinking, drawn.text) == ("Hm.", "Yes.")


def test_an_empty_reply_is_returned_as_such(connect: Connect) -> None:
    (drawn,) = sample(connect(), Conversation.user(""))
    assert (drawn.text, drawn.finish_reason) == ("", "stop")


def test_what_a_tool_said_reaches_the_model(connect: Connect) -> None:
    prompt = PROMPT.then("assistant", "Looking.").then("tool", "3 hives")
    assert sample(connect(), prompt)[0].text == "3 hives"


@pytest.mark.parametrize(
    "fault",
    [
        fails(429),
        fails(429, headers={"Retry-After": "0.01"}),
        fails(408),
        fails(409),
        fails(500),
        fails(503),
        says('{"choices": [{"mess'),
        says({"hello": 1}),
        says({"choices": [], "content": "none"}),
        says("<html>a proxy</html>"),
    ],
    ids=["429", "retry-after", "408", "409", "500", "503", "truncated", "schema", "no choice", "html"],
)
def test_what_may_pass_is_asked_again(connect: Connect, server: EndpointServer, fault: Fault) -> None:
    server.faults.extend([fault, fault])
    assert sample(connect())[0].text == "bees make honey"
    assert len(server.requests) == 3


def test_a_silent_server_is_given_up_and_asked_again(connect: Connect, server: EndpointServer) -> None:
    server.faults.append(hangs)
    retries = RetryPolicy(attempts=2, first_wait_s=0.001, timeout_s=1)
    assert sample(connect(retries))[0].text == "bees make honey"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (fails(500, "out of memory"), "500: out of memory"),
        (says({"hello": 1}), "malformed"),
        (hangs, "no answer within"),
        (drips, "no answer within"),
    ],
    ids=["500", "schema", "silent", "dripping"],
)
def test_attempts_come_to_an_end(connect: Connect, server: EndpointServer, fault: Fault, seen: str) -> None:
    server.faults.extend([fault] * 9)
    endpoint = connect(RetryPolicy(attempts=2, first_wait_s=0.001, timeout_s=0.3))
    with pytest.raises(EndpointFailed, match=seen) as raised:
        sample(endpoint)
    assert len(server.requests) == 2
    assert endpoint.name in str(raised.value)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, KEY)
    for vendor in (OpenAIEndpoint, AnthropicEndpoint):
        kind = "openai" if vendor is OpenAIEndpoint else "anthropic"
        endpoint = vendor(Entry("there", kind, Remote("m", "http://127.0.0.1:9/v1")), RetryPolicy(attempts=1))
        with pytest.raises(EndpointFailed, match=r"there: .*check the endpoint"):
            sample(endpoint)


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        (fails(400, "temperature: too hot"), "temperature: too hot.*sampling parameters"),
        (fails(400, "Your credit balance is too low"), "credit balance is too low.*top up"),
        (fails(401), "_API_KEY"),
        (fails(402, "pay first"), "pay first.*top up"),
        (fails(429, "You exceeded your current quota, please check your plan"), "wants to be paid.*top up"),
        (fails(403), "get access"),
        (fails(404, "no model m"), "no model m.*mend the name"),
        (fails(422, "unknown field"), "unknown field"),
        (fails(429, "quota", {"Retry-After": "86400"}), "quota"),
    ],
    ids=["400", "no credit", "401", "402", "no quota", "403", "404", "422", "a day to wait"],
)
def test_what_cannot_pass_is_asked_once_and_names_the_mend(
    connect: Connect, server: EndpointServer, fault: Fault, mend: str
) -> None:
    server.faults.extend([fault] * 9)
    with pytest.raises(EthosError, match=mend) as raised:
        sample(connect())
    assert len(server.requests) == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_the_key_reaches_no_error_and_no_log(
    connect: Connect, server: EndpointServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults.extend([fails(status, "bad key {key}")] * 9)
    with pytest.raises(EthosError) as raised:
        sample(connect())
    assert server.requests[0].key == KEY
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + caplog.text
    assert KEY not in shown
    links: list[BaseException | None] = [raised.value]
    while (link := links.pop()) is not None:  # nor what an error reporter finds by following the links
        assert KEY not in repr(vars(link)) + str(link)
        links += [link.__cause__ or link.__context__]


def test_a_key_that_a_server_puts_into_a_reply_is_taken_out(connect: Connect) -> None:
    assert sample(connect(), Conversation.user(f"the key is {KEY}"))[0].text == "the key is [key]"


def test_an_endpoint_may_be_used_on_one_event_loop_after_another(connect: Connect) -> None:
    endpoint = connect(limits=Limits(concurrency=1))
    for _ in range(2):
        assert sample(endpoint, draws=range(3))[0].text == "bees make honey"


def test_stopped_it_lets_a_request_end_drops_what_waits_and_takes_calls_again_once_it_was_closed(
    connect: Connect, server: EndpointServer
) -> None:
    server.pause_s = 0.2

    async def story() -> None:
        endpoint = connect(limits=Limits(concurrency=1))
        calls = [asyncio.create_task(endpoint.sample(PROMPT, PARAMS, (draw,))) for draw in range(3)]
        while not server.requests:
            await asyncio.sleep(0.01)
        endpoint.stop()
        assert endpoint.under_way == 1
        late = endpoint.sample(PROMPT, PARAMS, (3,))
        sent, *dropped = await asyncio.gather(*calls, late, return_exceptions=True)
        assert sent == [Sample("bees make honey", "stop", Usage(5, 3), 0)]
        assert [type(ended) for ended in dropped] == [asyncio.CancelledError] * 3
        assert endpoint.under_way == 0
        await endpoint.close()
        assert len(await endpoint.sample(PROMPT, PARAMS)) == 1
        await endpoint.close()

    asyncio.run(story())
    assert len(server.requests) == 2


@pytest.mark.parametrize("what", ["the rate", "a gate", "the next attempt", "an answer that fails"])
def test_stopped_it_drops_a_call_that_waits_for_whatever_else_and_tries_nothing_again(
    connect: Connect, server: EndpointServer, what: str
) -> None:
    async def story() -> None:
        limits = Limits(requests_per_minute=1 if what == "the rate" else None)
        endpoint = connect(RetryPolicy(first_wait_s=60), limits)
        if what == "the rate":
            await endpoint.sample(PROMPT, PARAMS)
        elif what == "a gate":
            endpoint.gate = asyncio.Event()
        else:
            server.faults.append(fails(503))
            server.pause_s = 0.0 if what == "the next attempt" else 0.6
        call = asyncio.create_task(endpoint.sample(PROMPT, PARAMS))
        await asyncio.sleep(0.3)
        endpoint.stop()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, timeout=30)
        await endpoint.close()

    asyncio.run(story())
    assert len(server.requests) == (what != "a gate")


def test_no_more_requests_run_at_once_than_the_limit(connect: Connect, server: EndpointServer) -> None:
    server.pause_s = 0.02  # so that requests would pile up
    sample(connect(limits=Limits(concurrency=2)), draws=range(8))
    assert server.most_at_once == 2


@pytest.mark.parametrize(("status", "at_once"), [(429, 6), (503, 6), (500, 8)])
def test_an_endpoint_that_has_too_much_to_do_is_given_less_at_once_and_one_that_errs_is_not(
    connect: Connect, server: EndpointServer, status: int, at_once: int
) -> None:
    endpoint = connect()
    server.faults.append(fails(status))
    limits: list[int] = []

    async def story() -> None:
        await endpoint.sample(Conversation.user("Hi"), SamplingParams(8), range(4))
        limits.append(endpoint._limiter.slots.controller.limit)
        await endpoint.close()

    asyncio.run(story())
    assert limits == [at_once]


def test_what_other_draws_cost_is_kept_when_one_fails_and_the_key_is_nowhere_on_disk(
    connect: Connect, server: EndpointServer, tmp_path: Path
) -> None:
    def draw_three() -> list[Sample]:
        endpoint, cache = connect(), ResponseCache(tmp_path)
        with Database.open(tmp_path / "run.db", RUN_SCHEMA) as database:
            teacher = cached(endpoint, cache, Ledger(database), "teacher")
            try:
                return answered(endpoint, teacher.sample(PROMPT, SamplingParams(), draws=(0, 1, 2)))
            finally:
                cache.close()

    server.faults.append(fails(404, "bad key {key}"))
    with pytest.raises(EthosError, match="no such model"):
        draw_three()
    assert [s.draw for s in draw_three()] == [0, 1, 2]
    assert len(server.requests) == 4
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())
