"""Messages as Anthropic's API speaks them, since its version 2026-10-21.

It gives no log-probabilities and takes no seed. Nor does it take a temperature, top_p or top_k: it answers 400 to any
of them, at their defaults as well, so they are left out, and a warning says so once.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel

from ethos.errors import EthosError
from ethos.models.catalogue import ANTHROPIC_KEY, Entry, Remote
from ethos.models.endpoints.endpoint import Answer, Endpoint, turns
from ethos.models.endpoints.limits import DEFAULT_LIMITS, Limits
from ethos.models.endpoints.retry import DEFAULT_RETRIES, RetryPolicy
from ethos.models.estimates import estimated_tokens
from ethos.models.thinking import split_thinking
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation


class _Block(BaseModel):
    type: str
    text: str = ""
    thinking: str = ""


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(Answer):
    """What is read of a message."""

    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage

    @property
    def counted(self) -> Usage:
        """What is kept for other calls, or was kept by them, is part of the prompt."""
        told = self.usage
        kept = (told.cache_creation_input_tokens or 0) + (told.cache_read_input_tokens or 0)
        return Usage(told.input_tokens + kept, told.output_tokens)


class AnthropicEndpoint(Endpoint):
    """A model behind Anthropic's API."""

    def __init__(self, entry: Entry, retries: RetryPolicy = DEFAULT_RETRIES, limits: Limits = DEFAULT_LIMITS) -> None:
        """Reads the key from the environment. Raises EthosError if it isn't there."""
        if entry.kind != "anthropic" or not isinstance(entry.source, Remote):
            raise EthosError(f"{entry.name}: no model of Anthropic's; write anthropic:MODEL")
        self.key_variable = entry.source.key_variable or ANTHROPIC_KEY
        key = os.environ.get(self.key_variable)
        if not key:
            raise EthosError(f"{entry.name}: needs a key, and {self.key_variable} isn't set; export it and run again")
        super().__init__(entry, key, retries, limits)
        self._remote = entry.source
        self._warned = False

    async def _draw(self, prompt: Conversation, params: SamplingParams, draw: int) -> str:
        asked = _asked(prompt, params)
        if (params.temperature, params.top_p, params.top_k) != (1.0, 1.0, 0):
            self._warn_of_sampling()
        create = self._client.messages.with_raw_response.create
        most = Usage(estimated_tokens(prompt), params.max_tokens)
        return await self._ask(lambda: create(model=self._remote.model, **asked), _Message, most)

    def read(self, body: str, draw: int) -> Sample:
        """The sample that a message holds; text and thinking may be in several blocks."""
        message = _Message.model_validate_json(body)
        usage = message.counted
        thinking, text = split_thinking("".join(block.text for block in message.content))
        if message.stop_reason == "refusal":
            return self._withheld(text, usage, draw, body)
        return Sample(
            text=text,
            finish_reason="length" if message.stop_reason == "max_tokens" else "stop",
            usage=usage,
            draw=draw,
            thinking="".join(block.thinking for block in message.content) or thinking,
            raw=body,
        )

    def _warn_of_sampling(self) -> None:
        if not self._warned:
            self._warned = True
            self.warn(f"{self.name}: takes no temperature, top_p or top_k; it samples as the vendor sets it")

    @property
    def _sdk(self) -> Any:
        import anthropic

        return anthropic

    def _connect(self) -> Any:
        return self._sdk.AsyncAnthropic(
            api_key=self._key,
            base_url=self._remote.base_url,
            max_retries=0,
            timeout=self._retries.timeout_s,
            http_client=self._sdk.DefaultAioHttpClient(),
        )


def _asked(prompt: Conversation, params: SamplingParams) -> dict[str, Any]:
    system = "\n\n".join(message.content for message in prompt.messages if message.role == "system")
    asked: dict[str, Any] = {"messages": turns(prompt.with_system(None)), "max_tokens": params.max_tokens}
    if system:
        asked["system"] = system
    if params.stop:
        asked["stop_sequences"] = list(params.stop)
    return asked
