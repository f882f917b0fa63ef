"""Where text comes from, as everything above this room sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation

FinishReason = Literal["stop", "length", "refused"]


class PromptTooLong(EthosError):
    """Prompt and reply don't fit the model's context."""


class RequestRefused(EthosError):
    """An endpoint won't answer this request, and would not if it were asked again at once."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw a reply. `seed` is part of a draw's noise, and of the cache key.

    Temperature 0 is greedy and has no noise, so its seed is 0 whatever is asked: runs of other seeds share the reply.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what no sampler can do."""
        if self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(f"{self} asks for no token, a negative temperature or an empty choice")
        if self.temperature == 0:
            object.__setattr__(self, "seed", 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for cache keys and records."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn reply. `token_ids` and `logprobs` are there where the source gives them."""

    text: str  # without the thinking part and without special tokens
    finish_reason: FinishReason
    usage: Usage
    draw: int
    token_ids: tuple[int, ...] | None = None  # shape [T], the end-of-turn token included
    logprobs: tuple[float, ...] | None = None  # shape [T], natural log, of the distribution sampled from
    thinking: str | None = None  # what stood between <think> and </think>
    raw: str | None = field(default=None, compare=False, repr=False)  # what an endpoint answered, as it came
    call: str = ""  # key in the response cache, once it has been through one
    author: str = ""  # the name of the model, where several play one part
    refusal: str = ""  # why an endpoint gave no reply at all: `finish_reason` is "refused" then, `text` empty


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A reply, teacher-forced: natural-log probabilities of its tokens given the prompt, at temperature 1."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """Log-probability of the whole reply."""
        return sum(self.logprobs)


class Sampler(Protocol):
    """Anything that answers a conversation."""

    name: str  # how the user wrote it
    fingerprint: str  # content hash of the weights, or the endpoint's identity

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """One sample for each index in `draws`, in that order."""
        ...


class BatchSampler(Protocol):
    """Answers conversations as a closed batch, so that a look or a rollout doesn't depend on what else is computed."""

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        """For each prompt one sample a draw, in order; `advance` is called as each prompt's samples are there."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Anything that can be teacher-forced."""

    name: str
    fingerprint: str

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """Log-probabilities of each reply; the prompt is computed once.

        A reply is scored as the text that follows the assistant's header, without an end-of-turn token.
        """
        ...


class Model(Sampler, Scorer, Protocol):
    """Both, and texts as well: what the in-process engine is, and what endpoints with log-probabilities are in part."""

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of the tokens of a plain text after its first."""
        ...
