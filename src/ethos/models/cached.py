"""Frozen models through the response cache: nothing is asked twice, every call is in the ledger, and the budget is
reserved before a call and settled after it. What an endpoint refuses comes back as a sample that says so; a refused
request is not stored, a reply that was begun and withheld is, for it was paid. Samples of the changing policy don't
come through here.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar

from ethos.models.endpoints import Endpoint, LogprobsRefused, OpenAIEndpoint
from ethos.models.estimates import estimated_text_tokens, estimated_tokens
from ethos.models.refusals import Refusals
from ethos.models.types import Model, RequestRefused, Sample, Sampler, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation
from ethos.store.budget import Budget
from ethos.store.cache import ResponseCache, response_key
from ethos.store.canonical import canonical_json, digest
from ethos.store.ledger import Ledger, ModelCall


@dataclass(frozen=True, slots=True)
class Price:
    """What an endpoint charges, in USD for a million tokens."""

    prompt_usd_per_mtok: float = 0.0
    completion_usd_per_mtok: float = 0.0

    def usd(self, usage: Usage) -> float:
        """The price of one call."""
        prompt = usage.prompt_tokens * self.prompt_usd_per_mtok
        return (prompt + usage.completion_tokens * self.completion_usd_per_mtok) / 1e6


FREE = Price()


class FirstTokenSampler(Sampler, Protocol):
    """A sampler that may tell how likely a reply is to begin with each of some words."""

    async def first_token_logprobs(self, prompt: Conversation, candidates: Sequence[str]) -> list[float] | None:
        """In the order of `candidates`; None where the source gives no log-probabilities."""
        ...


@dataclass(frozen=True, slots=True)
class _Ask:
    """One answer that is wanted: its key, what it says in the cache beside the answer, and the most it may take."""

    key: str
    meta: Mapping[str, Any]
    most: Usage

    @property
    def settings(self) -> str:
        """What it is asked with, beside the prompt: the same for all requests of a stage."""
        return canonical_json(self.meta["params"]) if self.meta["kind"] == "sample" else "score"


_MakeAnswers = Callable[[list[int]], Awaitable[list[dict[str, Any]]]]
"""From positions among the asks to their answers, JSON-ready, each with its `usage`."""

M = TypeVar("M", bound=Sampler)


class CachedSampler(Generic[M]):
    """A frozen `Sampler` whose draws go through the cache under the part it plays, its role."""

    def __init__(
        self,
        model: M,
        cache: ResponseCache,
        ledger: Ledger,
        role: str,
        budget: Budget | None = None,
        price: Price = FREE,
        refusals: Refusals | None = None,
    ) -> None:
        self.name, self.fingerprint = model.name, model.fingerprint
        self.model, self.role = model, role
        self._cache, self._ledger, self._budget, self._price = cache, ledger, budget, price
        self._refusals = refusals or Refusals()
        self._made: set[int] | None = None  # keys of this run's answers, once somebody has asked for them

    async def sample(
        self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,), attempt: int = 0
    ) -> list[Sample]:
        """One sample for each index in `draws`, in that order; `Sample.call` is its key in the cache.

        Draws that nobody has made or is making are made in one inner call. An `attempt` above 0 asks again for the
        same draw, with other noise. Raises BudgetSpent, before the call, if it would go past the budget, and EthosError
        if most draws with these `params` are refused.
        """
        asked = params.to_dict()
        most = Usage(estimated_tokens(prompt), params.max_tokens)
        asks = [self._ask("sample", prompt, asked, most, draw=draw, attempt=attempt) for draw in draws]
        noise = params if attempt == 0 else replace(params, seed=int(digest([params.seed, attempt])[:8], 16))

        async def make(wanted: list[int]) -> list[dict[str, Any]]:
            return [_to_store(s) for s in await self.model.sample(prompt, noise, [draws[i] for i in wanted])]

        answers = await self._answers(asks, make)
        return [self._sample(answer, ask) for answer, ask in zip(answers, asks, strict=True)]

    def answered(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> set[int]:
        """Those of the draws that it has made in this run, in the part that it plays."""
        asked = params.to_dict()
        if self._made is None:
            self._made = {_short(key) for key in self._ledger.keys(self.role, self.name) if key}
        keys = {draw: response_key(self.fingerprint, "sample", prompt, asked, draw) for draw in draws}
        return {draw for draw, key in keys.items() if _short(key) in self._made}

    def _sample(self, answer: Mapping[str, Any], ask: _Ask) -> Sample:
        """A stored answer as a sample: an endpoint reads its own again, the rest is as it was written."""
        usage = Usage(**answer["usage"])
        if "raw" in answer and isinstance(self.model, Endpoint):
            sample = replace(self.model.read(answer["raw"], answer["draw"]), usage=usage, raw=None, call=ask.key)
            if sample.refusal:
                self._refusals.withhold(ask.settings, sample.refusal)
            return sample
        given: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in answer.items()}
        return Sample(**{**given, "usage": usage, "call": "" if "refusal" in answer else ask.key})

    def _ask(
        self,
        kind: Literal["sample", "score"],
        prompt: Conversation,
        asked: Mapping[str, Any],
        most: Usage,
        draw: int = 0,
        attempt: int = 0,
    ) -> _Ask:
        meta = {"model": self.name, "kind": kind, "prompt": prompt.to_dicts(), "params": dict(asked), "draw": draw}
        meta |= {"attempt": attempt, "role": self.role}
        return _Ask(response_key(self.fingerprint, kind, prompt, asked, draw, attempt), meta, most)

    async def _answers(self, asks: Sequence[_Ask], make: _MakeAnswers) -> list[dict[str, Any]]:
        """The answers in order, from the cache, from calls in flight, or made now; those not made now are recorded."""

        async def paid(wanted: list[int]) -> list[str]:
            return await self._paid([asks[i] for i in wanted], wanted, make)

        # an endpoint makes a request a draw, and each answer is kept as soon as it is there
        shared = None if isinstance(self.model, Endpoint) else _Together(paid)

        async def one(index: int) -> dict[str, Any]:
            ask, together = asks[index], shared or _Together(paid)
            self._refusals.ask(ask.settings)
            try:
                raw, hit = await self._cache.once(ask.key, lambda: together.answer(index), ask.meta)
            except RequestRefused as refused:
                self._refusals.refuse(ask.settings, refused)
                return _refused(ask, refused)
            answer: dict[str, Any] = json.loads(raw)
            if self._made is not None:
                self._made.add(_short(ask.key))
            if hit:
                hits.append(self._call(ask.key, Usage(**answer["usage"]), cached=True))
            return answer

        hits: list[ModelCall] = []
        # all are awaited even if one fails, as the others may be paid for already
        found = await asyncio.gather(*(one(index) for index in range(len(asks))), return_exceptions=True)
        if hits:
            self._ledger.add(hits)
        answers = []
        for result in found:
            if isinstance(result, BaseException):
                raise result
            answers.append(result)
        return answers

    async def _paid(self, asks: Sequence[_Ask], wanted: list[int], make: _MakeAnswers) -> list[str]:
        """Answers made by one inner call, within the budget, recorded and ready to be stored."""
        held = None
        if self._budget is not None:
            most_tokens = sum(ask.most.prompt_tokens + ask.most.completion_tokens for ask in asks)
            held = await self._budget.reserve(most_tokens, sum(self._price.usd(ask.most) for ask in asks))
        calls: list[ModelCall] = []
        try:
            answers = await make(wanted)
            for ask, answer in zip(asks, answers, strict=True):
                if not any(answer["usage"].values()):  # an endpoint that tells no usage takes the most it may
                    answer["usage"] = asdict(ask.most)
                calls.append(self._call(ask.key, Usage(**answer["usage"])))
            self._ledger.add(calls)
        finally:
            if self._budget is not None and held is not None:
                tokens = sum(call.prompt_tokens + call.completion_tokens for call in calls)
                self._budget.settle(held, tokens, sum(call.usd for call in calls))
        return [json.dumps(answer, ensure_ascii=False) for answer in answers]

    def _call(self, key: str, usage: Usage, *, cached: bool = False) -> ModelCall:
        tokens = (usage.prompt_tokens, usage.completion_tokens)
        usd = 0.0 if cached else self._price.usd(usage)
        return ModelCall(self.role, self.name, "", *tokens, cached, usd, key)


class CachedModel(CachedSampler[Model]):
    """A frozen model that can be teacher-forced as well; scores are cached reply by reply and text by text."""

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """Log-probabilities of each reply. The ledger's prompt tokens are estimated, as a scorer doesn't tell them."""
        prompt_tokens = estimated_tokens(prompt)
        asks = [
            self._ask("score", prompt, {"reply": reply}, Usage(prompt_tokens, estimated_text_tokens(reply)))
            for reply in replies
        ]

        async def make(wanted: list[int]) -> list[dict[str, Any]]:
            scored = await self.model.score(prompt, [replies[i] for i in wanted])
            return [asdict(s) | {"usage": asdict(Usage(prompt_tokens, len(s.token_ids)))} for s in scored]

        return [_logprobs(answer) for answer in await self._answers(asks, make)]

    async def score_text(self, text: str) -> TokenLogprobs:
        """Log-probabilities of the tokens of a plain text after its first; in the cache it has an empty prompt."""
        ask = self._ask("score", Conversation(()), {"text": text}, Usage(1, estimated_text_tokens(text)))

        async def make(wanted: list[int]) -> list[dict[str, Any]]:
            scored = await self.model.score_text(text)
            return [asdict(scored) | {"usage": asdict(Usage(1, len(scored.token_ids)))}]

        [answer] = await self._answers([ask], make)
        return _logprobs(answer)


class CachedFirstTokenSampler(CachedSampler[FirstTokenSampler]):
    """A frozen endpoint that may give the log-probabilities of a reply's first token."""

    async def first_token_logprobs(self, prompt: Conversation, candidates: Sequence[str]) -> list[float] | None:
        """In the order of `candidates`: minus infinity for one not among the likeliest; None if none are given.

        Raises RequestRefused if the endpoint won't answer.
        """
        usage = Usage(estimated_tokens(prompt), 1)
        ask = self._ask("score", prompt, {"first_token": list(candidates)}, usage)

        async def make(wanted: list[int]) -> list[dict[str, Any]]:
            if isinstance(self.model, OpenAIEndpoint):
                body = await self.model.first_token_body(prompt)
                return [{"raw": body, "usage": asdict(self.model.read(body, 0).usage)}]
            found = await self.model.first_token_logprobs(prompt, candidates)
            finite = None if found is None else [None if math.isinf(logprob) else logprob for logprob in found]
            return [{"logprobs": finite, "usage": asdict(usage)}]

        try:
            (answer,) = await self._answers([ask], make)
        except LogprobsRefused:  # that is no answer: nothing is stored, and another server may tell
            return None
        if "refusal" in answer:
            raise RequestRefused(answer["refusal"])
        if "raw" in answer and isinstance(self.model, OpenAIEndpoint):
            return self.model.read_first_token(answer["raw"], candidates)
        if answer["logprobs"] is None:
            return None
        return [-math.inf if logprob is None else logprob for logprob in answer["logprobs"]]


def cached(
    model: Sampler,
    cache: ResponseCache,
    ledger: Ledger,
    role: str,
    budget: Budget | None = None,
    price: Price = FREE,
    refusals: Refusals | None = None,
) -> CachedSampler[Any]:
    """A frozen model with as much of it cached as it can do: score, tell first tokens, or only sample."""
    kind: Any = CachedSampler
    if hasattr(model, "score"):
        kind = CachedModel
    elif hasattr(model, "first_token_logprobs"):
        kind = CachedFirstTokenSampler
    wrapped: CachedSampler[Any] = kind(model, cache, ledger, role, budget, price, refusals)
    return wrapped


class _Together:
    """Asks that nobody has made or is making, answered by one inner call.

    `ResponseCache.once` starts making all of these in one turn of the event loop; the inner call starts in the next.
    """

    def __init__(self, make: Callable[[list[int]], Awaitable[list[str]]]) -> None:
        self._make = make
        self._wanted: list[int] = []
        self._answers: asyncio.Task[dict[int, str]] | None = None

    async def answer(self, index: int) -> str:
        self._wanted.append(index)
        if self._answers is None:
            self._answers = asyncio.create_task(self._run())
        return (await asyncio.shield(self._answers))[index]

    async def _run(self) -> dict[int, str]:
        wanted, self._wanted, self._answers = self._wanted, [], None  # whoever comes later starts another call
        return dict(zip(wanted, await self._make(wanted), strict=True))


def _short(key: str) -> int:
    """60 bits of a key: there may be millions of them."""
    return int(key[:15], 16)


def _logprobs(answer: Mapping[str, Any]) -> TokenLogprobs:
    return TokenLogprobs(tuple(answer["token_ids"]), tuple(answer["logprobs"]))


def _to_store(sample: Sample) -> dict[str, Any]:
    """What an endpoint answered, as it came; of a model in this process, what it sampled."""
    if sample.raw is None:
        return {
            name: value for name, value in asdict(sample).items() if name not in ("raw", "call", "author", "refusal")
        }
    return {"raw": sample.raw, "draw": sample.draw, "usage": asdict(sample.usage)}


def _refused(ask: _Ask, refused: RequestRefused) -> dict[str, Any]:
    """In the place of an answer: what the endpoint said."""
    usage = asdict(Usage(0, 0))
    return {"text": "", "finish_reason": "refused", "usage": usage, "draw": ask.meta["draw"], "refusal": str(refused)}
