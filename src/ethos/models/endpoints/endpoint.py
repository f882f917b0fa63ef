"""What all endpoints share: one request a draw, limits, retries, and errors that name the mend and never the key."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from ethos.errors import EthosError
from ethos.models.catalogue import Entry, endpoint_fingerprint
from ethos.models.endpoints.limits import Limiter, Limits
from ethos.models.endpoints.retry import CallFailed, RetryPolicy, retry_after_s
from ethos.models.types import RequestRefused, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation

_log = logging.getLogger(__name__)

_REDACTED = "[key]"
_QUOTED_CHARACTERS = 200
_PAYMENT_REQUIRED = 402
_OUT_OF_QUOTA = "exceeded your current quota"  # OpenAI's API says that with a 429, which no wait will change
_STAND_IN = re.compile(r"[\W_a-z]{0,11}|.{0,5}", re.IGNORECASE)  # such as EMPTY, for servers that want no key


class Answer(BaseModel, ABC):
    """What is read of an endpoint's answer."""

    @property
    @abstractmethod
    def counted(self) -> Usage:
        """Tokens as the server tells them; nothing where it counts nothing."""


class EndpointFailed(EthosError):
    """An endpoint gave no usable answer, retries included, but may yet: the run ends, and can go on later."""


class Endpoint(ABC):
    """A `Sampler` over the network. Close it on the event loop that used it, before that ends."""

    key_variable: str
    """Where a user puts the key."""

    def __init__(self, entry: Entry, key: str, retries: RetryPolicy, limits: Limits) -> None:
        self.name, self.fingerprint = entry.name, endpoint_fingerprint(entry)
        self._key = key
        self._retries = retries
        self._limits = limits
        self.gate: asyncio.Event | None = None
        """While it is not set, no request is begun."""
        self.warn: Callable[[str], None] = _log.warning
        """Told of what a request can't ask for."""
        self.under_way = 0
        """Requests that were sent and are not answered."""
        self._waiting: set[asyncio.Task[Any]] = set()  # calls of which no request is under way
        self._is_stopped = False

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """One request for each draw: not every server honours a count.

        A reply that was refused or filtered comes back as a refused sample, without the text there may have been.

        Raises:
            EndpointFailed: if no usable answer came, after all retries.
            RequestRefused: if the endpoint refuses a request.
            EthosError: if it refuses the key or the model, or wants to be paid.
        """
        bodies = await asyncio.gather(*(self._draw(prompt, params, draw) for draw in draws))
        return [self.read(body, draw) for body, draw in zip(bodies, draws, strict=True)]

    def stop(self) -> None:
        """Until it is closed no request is begun: calls that only wait are cancelled, and so are new ones.

        What is under way goes on, for as long as one attempt may take.
        """
        self._is_stopped = True
        for call in self._waiting:
            call.cancel()

    async def close(self) -> None:
        """Closes connections; a later call, on any event loop, opens new ones."""
        client = self.__dict__.pop("_client", None)
        self.__dict__.pop("_limiter", None)
        if client is not None:
            await client.close()
        self._is_stopped = False

    @functools.cached_property
    def _limiter(self) -> Limiter:
        return Limiter(self._limits)

    @functools.cached_property
    def _client(self) -> Any:
        return self._connect()

    @abstractmethod
    def _connect(self) -> Any:
        """The SDK's client, without retries of its own."""

    @abstractmethod
    async def _draw(self, prompt: Conversation, params: SamplingParams, draw: int) -> str:
        """One request: the body of its answer."""

    @abstractmethod
    def read(self, body: str, draw: int) -> Sample:
        """The sample that a body holds: it is read anew each time it comes out of the cache."""

    def _withheld(self, said: str | None, usage: Usage, draw: int, body: str) -> Sample:
        """A draw that was refused or filtered after it was begun: paid for, and no reply."""
        plain = " ".join("".join(c if c.isprintable() else " " for c in said or "").split())
        what = f" ({plain[:_QUOTED_CHARACTERS]})" if plain else ""
        refusal = f"{self.name}: the reply was withheld{what}; loosen the endpoint's filter, or name another model"
        return Sample("", "refused", usage, draw, raw=body, refusal=refusal)

    @property
    @abstractmethod
    def _sdk(self) -> Any:
        """The vendor's module: both vendors name their exceptions alike."""

    async def _ask(self, request: Callable[[], Awaitable[Any]], answer: type[Answer], most: Usage) -> str:
        """The body of a raw response that has the form of `answer`, within limits and after retries.

        `most`: tokens that the call can take.
        """
        self._require_open()
        call = asyncio.current_task()
        assert call is not None

        async def attempt() -> str:
            if self.gate is not None and not self.gate.is_set():
                await self.gate.wait()
                self._limiter.slots.controller.rested()
            admission = await self._limiter.turn(most.prompt_tokens + most.completion_tokens)
            with self._sent(call), self._watched(most.completion_tokens):
                body = await self._body(request)
                taken = self._require_form(body, answer).counted
                admission.settle(taken.prompt_tokens + taken.completion_tokens)
                return body

        self._waiting.add(call)
        try:
            async with self._limiter.slots.one():
                try:
                    return await self._retries.run(attempt)
                except CallFailed as failed:
                    failure = failed
        finally:
            self._waiting.discard(call)
        raise self._explained(failure)  # outside `except`, so that no error of the SDK's hangs on to it

    @contextmanager
    def _watched(self, kind: int) -> Iterator[None]:
        """What comes of a request says how many there may be at once."""
        slots, began_s = self._limiter.slots, time.monotonic()
        try:
            yield
        except CallFailed as failed:
            if failed.is_for_load:
                slots.controller.failed(began_s, failed.reason if failed.status is None else str(failed.status))
            raise
        slots.controller.answered(kind, began_s, busy=slots.is_full)
        slots.fill()

    @contextmanager
    def _sent(self, call: asyncio.Task[Any]) -> Iterator[None]:
        """A request under way, which `stop` lets end; if it fails then, it isn't made again."""
        self._waiting.remove(call)
        self.under_way += 1
        try:
            yield
        except CallFailed:
            self._require_open()
            raise
        finally:
            self.under_way -= 1
            self._waiting.add(call)

    def _require_open(self) -> None:
        if self._is_stopped:
            raise asyncio.CancelledError(f"{self.name}: takes no more calls")

    async def _body(self, request: Callable[[], Awaitable[Any]]) -> str:
        try:
            async with asyncio.timeout(self._retries.timeout_s):
                response = await request()
                return self._redacted(response.http_response.text)
        except TimeoutError:
            failure = CallFailed(f"no answer within {self._retries.timeout_s:g} s", timed_out=True)
        except self._sdk.APIStatusError as error:
            said = self._redacted(_message(error.body))
            failure = CallFailed(
                said,
                status=_PAYMENT_REQUIRED if _OUT_OF_QUOTA in said.casefold() else error.status_code,
                retry_after_s=retry_after_s(error.response.headers),
            )
        except self._sdk.APITimeoutError:
            failure = CallFailed(f"no answer within {self._retries.timeout_s:g} s", timed_out=True)
        except self._sdk.APIConnectionError as error:
            failure = CallFailed(self._redacted(str(error.__cause__ or error)))
        raise failure

    def _require_form(self, body: str, answer: type[Answer]) -> Answer:
        try:
            return answer.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            failure = CallFailed(f"a malformed answer: {where}: {self._redacted(first['msg'])}")
        raise failure

    def _redacted(self, text: str) -> str:
        return text if _STAND_IN.fullmatch(self._key) else text.replace(self._key, _REDACTED)

    def _explained(self, failure: CallFailed) -> EthosError:
        status, quoted = failure.status, failure.reason[:_QUOTED_CHARACTERS]
        if failure.may_pass:
            seen = quoted if status is None else f"{status}: {quoted}"
            return EndpointFailed(
                f"{self.name}: gave no usable answer, retries included ({seen}); "
                "check the endpoint and run again: the answers so far are kept"
            )
        if status == 401:  # what the body says is not shown: some servers repeat the key, or parts of it
            return EthosError(
                f"{self.name}: the endpoint refuses the key (401); put one that it takes in {self.key_variable}"
            )
        if status == 403:
            return EthosError(
                f"{self.name}: the key in {self.key_variable} may not use this model (403); "
                "get access to it, or name another model"
            )
        if status == 404:
            return EthosError(f"{self.name}: the endpoint has no such model or path (404: {quoted}); mend the name")
        if status == 402 or "credit balance" in quoted.casefold():  # Anthropic's API says that with a 400
            return EthosError(
                f"{self.name}: the endpoint wants to be paid ({status}: {quoted}); "
                "top up the account and run again: the answers so far are kept"
            )
        return RequestRefused(
            f"{self.name}: the endpoint refuses the request ({status}: {quoted}); "
            "use a model and sampling parameters that it takes"
        )


def turns(prompt: Conversation) -> list[dict[str, str]]:
    """Messages as endpoints take them: what a tool said is a user's turn, as no tools are declared."""
    roles = {"tool": "user"}
    return [{**turn, "role": roles.get(turn["role"], turn["role"])} for turn in prompt.to_dicts()]


def _message(body: object) -> str:
    """What a server says went wrong: `{"error": {"message": …}}` and its simpler forms, on one line."""
    while isinstance(body, dict):
        body = body.get("message") or body.get("error") or body.get("detail") or ""
    return " ".join(str(body or "no reason given").split())
