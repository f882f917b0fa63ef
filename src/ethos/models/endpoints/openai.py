"""Chat completions as OpenAI, vLLM, llama.cpp, Ollama and many others speak them.

Tools, images and streaming were left out: a draw is one prompt and one reply of text.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from ethos.errors import EthosError
from ethos.models.catalogue import OPENAI_KEY, Entry, Remote
from ethos.models.endpoints.endpoint import Answer, Endpoint, turns
from ethos.models.endpoints.limits import DEFAULT_LIMITS, Limits
from ethos.models.endpoints.retry import DEFAULT_RETRIES, RetryPolicy
from ethos.models.estimates import estimated_tokens
from ethos.models.thinking import split_thinking
from ethos.models.types import RequestRefused, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.store.canonical import digest

TOP_LOGPROBS = 20
"""The most that the protocol allows."""

MISSES = 8
"""First tokens without a candidate, and none yet with one: the model begins with something else, such as a thought."""

_NO_KEY = "none-needed"  # the SDK wants one, a server on this machine doesn't
_VENDOR = ".openai.com"


class _TopLogprob(BaseModel):
    token: str
    logprob: float | None = None


class _Token(BaseModel):
    top_logprobs: list[_TopLogprob] | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(Answer):
    """What is read of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None

    @property
    def counted(self) -> Usage:
        """Nothing where the server counts nothing."""
        told = self.usage or _Usage()
        return Usage(told.prompt_tokens or 0, told.completion_tokens or 0)


class LogprobsRefused(EthosError):
    """A server, or a model, that gives no log-probabilities and says so."""


class OpenAIEndpoint(Endpoint):
    """A model behind an OpenAI-compatible server."""

    def __init__(self, entry: Entry, retries: RetryPolicy = DEFAULT_RETRIES, limits: Limits = DEFAULT_LIMITS) -> None:
        """Reads the key from the environment. Raises EthosError if `entry` is no OpenAI-compatible endpoint."""
        if entry.kind != "openai" or not isinstance(entry.source, Remote):
            raise EthosError(f"{entry.name}: no OpenAI-compatible endpoint; write openai:BASE_URL#MODEL")
        self.key_variable = entry.source.key_variable or OPENAI_KEY
        super().__init__(entry, os.environ.get(self.key_variable) or _NO_KEY, retries, limits)
        self._remote = entry.source
        self.tells_logprobs = True  # until it has refused to, or they proved useless
        self._misses, self._has_hit = 0, False

    async def first_token_logprobs(self, prompt: Conversation, candidates: Sequence[str]) -> list[float] | None:
        """Natural-log probability that the reply begins with each candidate, at temperature 1.

        Spellings that differ in white space around the token are summed; where a candidate is no token of its own,
        those that it and no other candidate begins with. One that isn't among the top 20 has minus infinity. None
        where the endpoint gives no log-probabilities, or refuses to tell any.
        """
        try:
            return self.read_first_token(await self.first_token_body(prompt), candidates)
        except LogprobsRefused:
            return None

    async def first_token_body(self, prompt: Conversation) -> str:
        """The answer that tells of the first token, as it came.

        Raises LogprobsRefused if the endpoint tells none of any token, which it is asked once, or if its first tokens
        hold no candidate.
        """
        if self.tells_logprobs:
            try:
                return await self._complete(prompt, 1, {"logprobs": True, "top_logprobs": TOP_LOGPROBS})
            except RequestRefused as error:
                if "logprob" not in str(error).casefold():
                    raise
                self.tells_logprobs = False
        raise LogprobsRefused(f"{self.name}: tells no log-probabilities; name a judge that does, or let it be sampled")

    def read_first_token(self, body: str, candidates: Sequence[str]) -> list[float] | None:
        """As `first_token_logprobs`, from an answer that is there."""
        completion = _Completion.model_validate_json(body)
        logprobs = completion.choices[0].logprobs
        if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
            return None
        found = _found_first(candidates, logprobs.content[0].top_logprobs)
        self._has_hit |= max(found) > -math.inf
        self._misses += not self._has_hit
        self.tells_logprobs &= self._misses < MISSES
        return found

    async def _draw(self, prompt: Conversation, params: SamplingParams, draw: int) -> str:
        return await self._complete(prompt, params.max_tokens, self._asked(params, draw))

    def read(self, body: str, draw: int) -> Sample:
        """The sample that a completion holds; its first choice, for one is asked for."""
        completion = _Completion.model_validate_json(body)
        choice, usage = completion.choices[0], completion.counted
        message = choice.message
        if choice.finish_reason == "content_filter" or (message.refusal and not message.content):
            return self._withheld(message.refusal, usage, draw, body)
        thinking, text = split_thinking(message.content or "")
        return Sample(
            text=text,
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            usage=usage,
            draw=draw,
            thinking=message.reasoning_content or message.reasoning or thinking,
            raw=body,
        )

    async def _complete(self, prompt: Conversation, longest: int, asked: dict[str, Any]) -> str:
        create = self._client.chat.completions.with_raw_response.create
        asked = {"model": self._remote.model, "messages": turns(prompt), **self._limit(longest), **asked}
        return await self._ask(lambda: create(**asked), _Completion, Usage(estimated_tokens(prompt), longest))

    def _asked(self, params: SamplingParams, draw: int) -> dict[str, Any]:
        """What differs from the protocol's defaults: some models refuse a parameter even at its default."""
        asked: dict[str, Any] = {}
        asked["seed"] = int(digest([params.seed, draw])[:8], 16) >> 1  # draws of one prompt must differ
        if params.temperature != 1:
            asked["temperature"] = params.temperature
        if params.top_p != 1:
            asked["top_p"] = params.top_p
        if params.top_k:
            asked["extra_body"] = {"top_k": params.top_k}  # not OpenAI's, but vLLM's and llama.cpp's
        if params.stop:
            asked["stop"] = list(params.stop)
        return asked

    def _limit(self, tokens: int) -> dict[str, Any]:
        """OpenAI's models refuse the old name of this parameter, and other servers may not know the new one."""
        host = urlsplit(self._remote.base_url or "").hostname or ""
        return {"max_completion_tokens" if f".{host}".endswith(_VENDOR) else "max_tokens": tokens}

    @property
    def _sdk(self) -> Any:
        import openai

        return openai

    def _connect(self) -> Any:
        return self._sdk.AsyncOpenAI(
            api_key=self._key,
            base_url=self._remote.base_url,
            max_retries=0,
            timeout=self._retries.timeout_s,
            http_client=self._sdk.DefaultAioHttpClient(),
        )


def _found_first(candidates: Sequence[str], top: Sequence[_TopLogprob]) -> list[float]:
    """The log-probability of each candidate among the tokens that a reply may begin with."""
    spelled = [(t.token.strip(), t.logprob) for t in top if t.logprob is not None and t.token.strip()]

    def begins(token: str) -> list[str]:
        return [candidate for candidate in candidates if candidate.startswith(token)]

    found = []
    for candidate in candidates:
        whole = [logprob for token, logprob in spelled if token == candidate]
        found.append(_log_sum(whole or [logprob for token, logprob in spelled if begins(token) == [candidate]]))
    return found


def _log_sum(logprobs: Iterable[float]) -> float:
    total = sum(math.exp(min(logprob, 0.0)) for logprob in logprobs)
    return math.log(total) if total > 0 else -math.inf
