import asyncio
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.models.cached import CachedFirstTokenSampler, CachedModel, CachedSampler, Price, cached
from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation
from ethos.store.budget import Budget, BudgetSpent
from ethos.store.cache import ResponseCache
from ethos.store.config.run import BudgetConfig
from ethos.store.ledger import Ledger

PROMPT = Conversation.user("Is it kind?")
PARAMS = SamplingParams(max_tokens=5, seed=3)


class Counting:
    """Answers with what it was asked for, and remembers each inner call."""

    name, fingerprint = "counting", "f"

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.fails = False

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        self.calls.append(list(draws))
        await asyncio.sleep(0)
        if self.fails:
            raise EthosError("planted")
        return [
            Sample(f"{params.seed}/{d}", "stop", Usage(10, 2), d, (1, 2), (-0.1, -0.2), thinking="Hm.") for d in draws
        ]


class Scoring(Counting):
    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        self.calls.append(list(replies))
        return [TokenLogprobs((7, 8), (-float(len(reply)), -0.5)) for reply in replies]

    async def score_text(self, text: str) -> TokenLogprobs:
        self.calls.append(text)
        return TokenLogprobs((7,), (-float(len(text)),))


class Telling(Counting):
    gives = True

    async def first_token_logprobs(self, prompt: Conversation, candidates: Sequence[str]) -> list[float] | None:
        self.calls.append(list(candidates))
        return [-0.1, -math.inf] if self.gives else None


@pytest.fixture
def model() -> Scoring:
    return Scoring()


@pytest.fixture
def teacher(model: Scoring, cache: ResponseCache, ledger: Ledger) -> CachedModel:
    return CachedModel(model, cache, ledger, "teacher")


def test_a_draw_is_made_once_and_comes_back_whole(teacher: CachedModel, model: Scoring) -> None:
    (first,) = asyncio.run(teacher.sample(PROMPT, PARAMS))
    (second,) = asyncio.run(teacher.sample(PROMPT, PARAMS))
    assert first == second
    assert first == Sample("3/0", "stop", Usage(10, 2), 0, (1, 2), (-0.1, -0.2), thinking="Hm.", call=first.call)
    assert model.calls == [[0]]


def test_the_call_is_the_key_under_which_the_answer_lies(teacher: CachedModel, cache: ResponseCache) -> None:
    (drawn,) = asyncio.run(teacher.sample(PROMPT, PARAMS))
    assert '"3/0"' in (cache.get(drawn.call) or "")


def test_a_restart_finds_what_was_paid_for(
    teacher: CachedModel, cache: ResponseCache, ledger: Ledger, tmp_path: Path
) -> None:
    before = asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(0, 1)))
    cache.close()
    reopened = ResponseCache(tmp_path)
    fresh = Scoring()
    assert asyncio.run(CachedModel(fresh, reopened, ledger, "teacher").sample(PROMPT, PARAMS, draws=(0, 1))) == before
    assert fresh.calls == []
    reopened.close()


def test_it_knows_what_it_drew_in_this_run_and_in_this_part(
    teacher: CachedModel, model: Scoring, cache: ResponseCache, ledger: Ledger
) -> None:
    asyncio.run(teacher.sample(PROMPT, PARAMS, (0, 1)))
    assert teacher.answered(PROMPT, PARAMS, range(3)) == {0, 1}
    voice = CachedModel(model, cache, ledger, "chorus")
    assert voice.answered(PROMPT, PARAMS, range(3)) == set()  # though the cache has them, from another part
    asyncio.run(voice.sample(PROMPT, PARAMS, (1,)))
    assert voice.answered(PROMPT, PARAMS, range(3)) == {1}
    assert CachedModel(model, cache, ledger, "chorus").answered(PROMPT, PARAMS, range(3)) == {1}  # and a later sitting


def test_missing_draws_are_made_in_one_inner_call(teacher: CachedModel, model: Scoring) -> None:
    asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(1,)))
    drawn = asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(3, 1, 0, 2)))
    assert [s.draw for s in drawn] == [3, 1, 0, 2]
    assert model.calls == [[1], [3, 0, 2]]


def test_identical_calls_in_flight_are_made_once(teacher: CachedModel, model: Scoring, ledger: Ledger) -> None:
    async def run() -> list[list[Sample]]:
        return await asyncio.gather(*(teacher.sample(PROMPT, PARAMS, draws=(0, 1)) for _ in range(5)))

    assert len({tuple(drawn) for drawn in asyncio.run(run())}) == 1
    assert model.calls == [[0, 1]]
    assert (ledger.total().calls, ledger.total().cached) == (10, 8)


def test_another_draw_prompt_parameter_or_attempt_is_another_call(teacher: CachedModel, model: Scoring) -> None:
    async def run() -> set[str]:
        drawn = [
            await teacher.sample(PROMPT, PARAMS),
            await teacher.sample(PROMPT, PARAMS, draws=(1,)),
            await teacher.sample(PROMPT.with_system("Be brief."), PARAMS),
            await teacher.sample(PROMPT, SamplingParams(max_tokens=6, seed=3)),
            await teacher.sample(PROMPT, PARAMS, attempt=1),
        ]
        return {sample.call for samples in drawn for sample in samples}

    assert len(asyncio.run(run())) == len(model.calls) == 5


def test_another_attempt_has_other_noise(teacher: CachedModel) -> None:
    (first,) = asyncio.run(teacher.sample(PROMPT, PARAMS))
    (second,) = asyncio.run(teacher.sample(PROMPT, PARAMS, attempt=1))
    assert first.text != second.text


def test_a_failed_call_is_not_stored_and_costs_nothing(model: Scoring, cache: ResponseCache, ledger: Ledger) -> None:
    budget = Budget(BudgetConfig(tokens=100))
    teacher = CachedModel(model, cache, ledger, "teacher", budget)
    model.fails = True
    with pytest.raises(EthosError, match="planted"):
        asyncio.run(teacher.sample(PROMPT, PARAMS))
    model.fails = False
    assert asyncio.run(teacher.sample(PROMPT, PARAMS))[0].text == "3/0"
    assert ledger.total().calls == 1
    asyncio.run(budget.reserve(100 - 12))


def test_the_ledger_holds_every_call_by_role(teacher: CachedModel, ledger: Ledger, tmp_path: Path) -> None:
    asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(0, 1)))
    asyncio.run(teacher.sample(PROMPT, PARAMS))
    totals = ledger.totals()["teacher"]
    assert (totals.calls, totals.cached, totals.prompt_tokens, totals.completion_tokens) == (3, 1, 20, 4)
    with sqlite3.connect(tmp_path / "run.db") as database:
        rows = database.execute("SELECT purpose, cached FROM calls ORDER BY rowid").fetchall()
    assert rows == [("", 0), ("", 0), ("", 1)]


def test_a_price_is_paid_for_made_calls_only(
    model: Scoring, cache: ResponseCache, ledger: Ledger, tmp_path: Path
) -> None:
    teacher = CachedModel(model, cache, ledger, "teacher", price=Price(1_000.0, 10_000.0))
    asyncio.run(teacher.sample(PROMPT, PARAMS))
    asyncio.run(teacher.sample(PROMPT, PARAMS))
    assert ledger.total().usd == pytest.approx(0.01 + 0.02)
    with sqlite3.connect(tmp_path / "run.db") as database:
        assert database.execute("SELECT cached FROM calls WHERE usd > 0").fetchall() == [(0,)]


def test_past_the_budget_no_call_is_made_and_what_was_paid_for_is_kept(
    model: Scoring, cache: ResponseCache, ledger: Ledger
) -> None:
    teacher = CachedModel(model, cache, ledger, "teacher", Budget(BudgetConfig(tokens=40)))
    for draw in (0, 1):  # reserved up to 17 tokens, settled at 12
        asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(draw,)))
    with pytest.raises(BudgetSpent):
        asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(2,)))
    asyncio.run(teacher.sample(PROMPT, PARAMS, draws=(0, 1)))
    assert model.calls == [[0], [1]]


def test_calls_in_flight_count_towards_the_budget(model: Scoring, cache: ResponseCache, ledger: Ledger) -> None:
    teacher = CachedModel(model, cache, ledger, "teacher", Budget(BudgetConfig(tokens=40)))

    async def run() -> list[object]:
        calls = (teacher.sample(PROMPT, PARAMS, draws=(draw,)) for draw in range(5))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert sum(isinstance(result, BudgetSpent) for result in asyncio.run(run())) == 3
    assert len(model.calls) == 2


def test_calls_wait_for_what_others_have_reserved_and_dont_need(
    model: Scoring, cache: ResponseCache, ledger: Ledger
) -> None:
    """Five calls take 60 tokens, and reserve up to 85."""
    teacher = CachedModel(model, cache, ledger, "teacher", Budget(BudgetConfig(tokens=65)))

    async def run() -> None:
        await asyncio.gather(*(teacher.sample(PROMPT, PARAMS, draws=(draw,)) for draw in range(5)))

    asyncio.run(run())
    assert ledger.total().tokens == 60


def test_an_endpoint_that_tells_no_usage_is_charged_what_was_reserved(cache: ResponseCache, ledger: Ledger) -> None:
    class Silent(Counting):
        async def sample(
            self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)
        ) -> list[Sample]:
            return [Sample("Yes.", "stop", Usage(0, 0), draw) for draw in draws]

    asyncio.run(CachedSampler(Silent(), cache, ledger, "teacher").sample(PROMPT, PARAMS))
    assert ledger.total().completion_tokens == PARAMS.max_tokens
    assert ledger.total().prompt_tokens > 0


def test_scores_are_cached_reply_by_reply(teacher: CachedModel, model: Scoring, ledger: Ledger) -> None:
    (yes,) = asyncio.run(teacher.score(PROMPT, ["Yes"]))
    assert asyncio.run(teacher.score(PROMPT, ["No", "Yes", "Maybe"]))[1] == yes == TokenLogprobs((7, 8), (-3.0, -0.5))
    assert model.calls == [["Yes"], ["No", "Maybe"]]
    assert (ledger.total().calls, ledger.total().cached) == (4, 1)


def test_a_text_and_a_reply_of_the_same_words_are_two_scores(teacher: CachedModel, model: Scoring) -> None:
    for _ in range(2):
        assert asyncio.run(teacher.score_text("Yes")) == TokenLogprobs((7,), (-3.0,))
        assert asyncio.run(teacher.score(Conversation(()), ["Yes"])) == [TokenLogprobs((7, 8), (-3.0, -0.5))]
    assert model.calls == ["Yes", ["Yes"]]


@pytest.mark.parametrize(("gives", "expected"), [(True, [-0.1, -math.inf]), (False, None)])
def test_first_tokens_are_cached_with_what_is_not_among_the_likeliest(
    gives: bool, expected: list[float] | None, cache: ResponseCache, ledger: Ledger
) -> None:
    model = Telling()
    model.gives = gives
    judge = CachedFirstTokenSampler(model, cache, ledger, "judge")
    for _ in range(2):
        assert asyncio.run(judge.first_token_logprobs(PROMPT, ("Yes", "No"))) == expected
    assert model.calls == [["Yes", "No"]]


@pytest.mark.parametrize(
    ("inner", "kind"),
    [(Counting(), CachedSampler), (Scoring(), CachedModel), (Telling(), CachedFirstTokenSampler)],
    ids=["sampler", "model", "first token"],
)
def test_a_cached_model_can_do_what_the_model_can(
    inner: Counting, kind: type, cache: ResponseCache, ledger: Ledger
) -> None:
    wrapped = cached(inner, cache, ledger, "judge")
    assert type(wrapped) is kind
    assert (wrapped.name, wrapped.fingerprint) == ("counting", "f")


def test_a_caller_that_gives_up_loses_nothing(teacher: CachedModel, model: Scoring, ledger: Ledger) -> None:
    async def run() -> None:
        call = asyncio.create_task(teacher.sample(PROMPT, PARAMS))
        while not model.calls:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await teacher.sample(PROMPT, PARAMS)

    asyncio.run(run())
    assert model.calls == [[0]]
    assert (ledger.total().calls, ledger.total().cached) == (2, 1)
