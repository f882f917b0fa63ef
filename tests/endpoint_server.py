"""A server on a loopback port that speaks OpenAI's chat completions and Anthropic's messages over any `Sampler`.

Requests are checked as the vendors check them, and answered by the sampler; faults that are planted come first, one a
request. Streaming and tools are left out, as the endpoints don't use them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ethos.models.endpoints import Endpoint
from ethos.models.types import Sample, Sampler, SamplingParams
from ethos.spec.conversation import Conversation

T = TypeVar("T")
Fault = Callable[["Asked"], Awaitable[Response]]
"""What answers a request in the sampler's place."""


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    key: str
    body: dict[str, Any]
    request: Request


class EndpointServer:
    """Runs in a thread between `with` and its end. `requests` holds what was asked, `faults` what is to go wrong;
    a prompt that holds any of `filtered` is refused each time; each answer waits for `pause_s` first."""

    def __init__(self, sampler: Sampler, *, key: str | None = None, words: Sequence[str] = ()) -> None:
        """`key`: the only one that is let in; None lets all in. `words`: what `top_logprobs` tells of, by `score`."""
        self.sampler, self.key, self.words = sampler, key, words
        self.requests: list[Asked] = []
        self.faults: deque[Fault] = deque()
        self.filtered: tuple[str, ...] = ()
        self.pause_s = 0.0
        self.most_at_once = 0
        self._at_once = 0
        routes = [
            Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            Route("/v1/messages", self._messages, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def address(self) -> str:
        """The server's root; OpenAI's base URL is `<address>/v1`, Anthropic's is the root itself."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _chat_completions(self, request: Request) -> Response:
        return await self._answer(request, _bearer(request), self._complete)

    async def _messages(self, request: Request) -> Response:
        if "anthropic-version" not in request.headers:
            return error(400, "anthropic-version: header is required")
        return await self._answer(request, request.headers.get("x-api-key") or _bearer(request), self._message)

    async def _answer(
        self, request: Request, key: str, make: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
    ) -> Response:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            asked = Asked(request.url.path, key, await request.json(), request)
            self.requests.append(asked)
            await asyncio.sleep(self.pause_s)
            if self.faults:
                return await self.faults.popleft()(asked)
            if self.key is not None and key != self.key:
                return error(401, f"Incorrect API key provided: {key}.")
            if any(text in str(asked.body["messages"]) for text in self.filtered):
                return error(400, "the prompt was filtered")
            try:
                return JSONResponse(await make(asked.body))
            except ValidationError as invalid:
                return error(400, str(invalid))
        finally:
            self._at_once -= 1

    async def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = _ChatRequest.model_validate(body)
        prompt = Conversation.from_dicts([turn.model_dump() for turn in asked.messages])
        sample = await self._sample(prompt, asked)
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": asked.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": sample.text, "refusal": None},
                    "logprobs": await self._logprobs(prompt, asked),
                    "finish_reason": sample.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": sample.usage.prompt_tokens,
                "completion_tokens": sample.usage.completion_tokens,
                "total_tokens": sample.usage.prompt_tokens + sample.usage.completion_tokens,
            },
        }

    async def _logprobs(self, prompt: Conversation, asked: _ChatRequest) -> dict[str, Any] | None:
        score = getattr(self.sampler, "score", None)
        if not asked.logprobs or score is None or not self.words:
            return None
        scored = zip(self.words, await score(prompt, self.words), strict=True)
        top = [{"token": word, "logprob": logprobs.total, "bytes": list(word.encode())} for word, logprobs in scored]
        top = sorted(top, key=lambda t: -t["logprob"])[: asked.top_logprobs]
        return {"content": [{**top[0], "top_logprobs": top}], "refusal": None}

    async def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = _MessagesRequest.model_validate(body)
        prompt = Conversation.from_dicts([turn.model_dump() for turn in asked.messages]).with_system(asked.system)
        sample = await self._sample(prompt, asked)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [{"type": "text", "text": sample.text}],
            "stop_reason": {"stop": "end_turn", "length": "max_tokens"}[sample.finish_reason],
            "stop_sequence": None,
            "usage": {
                "input_tokens": sample.usage.prompt_tokens,
                "output_tokens": sample.usage.completion_tokens,
            },
        }

    async def _sample(self, prompt: Conversation, asked: _ChatRequest | _MessagesRequest) -> Sample:
        (sample,) = await self.sampler.sample(prompt, asked.params())
        return sample


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class _ChatRequest(BaseModel):
    """The parameters of OpenAI's that are used here, and vLLM's `top_k`; all others are refused."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[_Turn] = Field(min_length=1)
    max_tokens: int = 16
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = 0
    seed: int = Field(0, ge=0, lt=2**31)
    stop: list[str] = Field([], max_length=4)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    def params(self) -> SamplingParams:
        return SamplingParams(self.max_tokens, self.temperature, self.top_p, self.top_k, tuple(self.stop), self.seed)


class _DialogueTurn(_Turn):
    role: Literal["user", "assistant"]


class _MessagesRequest(BaseModel):
    """The parameters of Anthropic's that are used here; all others are refused, as is `temperature` there."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[_DialogueTurn] = Field(min_length=1)
    max_tokens: int = Field(ge=1)
    system: str | None = None
    stop_sequences: list[str] = []

    def params(self) -> SamplingParams:
        return SamplingParams(self.max_tokens, stop=tuple(self.stop_sequences))


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as both vendors write it."""
    body = {"type": "error", "error": {"type": "error", "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)


def fails(status: int, message: str = "planted", headers: dict[str, str] | None = None) -> Fault:
    """An answer with an error status; `{key}` in the message is the key that came."""

    async def fault(asked: Asked) -> Response:
        return error(status, message.replace("{key}", asked.key), headers)

    return fault


def says(body: object) -> Fault:
    """A good status with any JSON body, or with any text as if it were JSON."""

    async def fault(asked: Asked) -> Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return Response(text, media_type="application/json")

    return fault


async def hangs(asked: Asked) -> Response:
    """No answer at all, until the client gives up."""
    while not await asked.request.is_disconnected():
        await asyncio.sleep(0.01)
    return Response()


async def drips(asked: Asked) -> Response:
    """Two seconds of an answer that is never silent for long, and nothing in the end."""

    async def spaces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" "
            await asyncio.sleep(0.01)

    return StreamingResponse(spaces(), media_type="application/json")


def answered(endpoint: Endpoint, call: Coroutine[Any, Any, T]) -> T:
    """Awaits a call on a loop of its own, and closes the endpoint's connections there."""

    async def run() -> T:
        try:
            return await call
        finally:
            await endpoint.close()

    return asyncio.run(run())
