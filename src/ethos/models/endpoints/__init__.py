"""Models that answer over the network. Vendors' SDKs are imported when the first call is made."""

from __future__ import annotations

from ethos.models.catalogue import Entry
from ethos.models.endpoints.anthropic import AnthropicEndpoint
from ethos.models.endpoints.endpoint import Endpoint, EndpointFailed
from ethos.models.endpoints.limits import DEFAULT_LIMITS, Limits
from ethos.models.endpoints.openai import LogprobsRefused, OpenAIEndpoint
from ethos.models.endpoints.retry import DEFAULT_RETRIES, RetryPolicy

__all__ = [
    "AnthropicEndpoint",
    "Endpoint",
    "EndpointFailed",
    "Limits",
    "LogprobsRefused",
    "OpenAIEndpoint",
    "RetryPolicy",
    "open_endpoint",
]


def open_endpoint(
    entry: Entry, retries: RetryPolicy = DEFAULT_RETRIES, limits: Limits = DEFAULT_LIMITS
) -> OpenAIEndpoint | AnthropicEndpoint:
    """The endpoint of a catalogue entry whose kind is not `local`. Opens no connection yet."""
    if entry.kind == "openai":
        return OpenAIEndpoint(entry, retries, limits)
    return AnthropicEndpoint(entry, retries, limits)
