from __future__ import annotations

import asyncio
import threading

import pytest
import torch

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward
from ethos.models.engine import Engine
from ethos.models.types import Sample, SamplingParams
from ethos.spec.conversation import Conversation
from models import tiny

PARAMS = SamplingParams(max_tokens=12)
HELLO, LONG = Conversation.user("Hello there"), Conversation.user("x" * 600)
SHAPES = ("llama", "gpt-neox", "gemma2")  # the last two by their own forward


def tokens_of(samples: list[Sample]) -> list[tuple[int, ...] | None]:
    return [sample.token_ids for sample in samples]


def asked(text: str) -> Conversation:
    return Conversation.user(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_the_same_alone_in_a_batch_and_all_at_once(shape: str) -> None:
    prompts = [asked(text) for text in ("Hi", "Tell me of the sea and of the land", "Why?")]
    made = tiny.loaded(shape)

    async def concurrently(engine: Engine) -> list[list[Sample]]:
        return list(await asyncio.gather(*(engine.sample(p, PARAMS, (0, 1)) for p in prompts)))

    together = asyncio.run(tiny.engine(made).sample_batch(prompts, PARAMS, (0, 1)))
    alone = [asyncio.run(tiny.engine(made).sample(p, PARAMS, (draw,)))[0] for p in prompts for draw in (0, 1)]
    expected = [sample.token_ids for group in together for sample in group]
    assert [sample.token_ids for sample in alone] == expected
    assert [s.token_ids for group in asyncio.run(concurrently(tiny.engine(made))) for s in group] == expected
    assert len(set(expected)) == 6


def test_more_prompts_than_slots_are_all_answered_in_order() -> None:
    made = tiny.loaded()
    prompts = [asked(f"number {i}") for i in range(9)]
    few = asyncio.run(tiny.engine(made, slots=2).sample_batch(prompts, PARAMS))
    many = asyncio.run(tiny.engine(made).sample_batch(prompts, PARAMS))
    assert [group[0].token_ids for group in few] == [group[0].token_ids for group in many]


def test_a_tight_memory_makes_sequences_wait_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny.loaded()
    prompts = [asked("x" * length) for length in (5, 300, 40, 250, 10, 200)]

    async def everything(engine: Engine) -> tuple[list[object], list[object]]:
        samples, *scores = await asyncio.gather(
            engine.sample_batch(prompts, PARAMS, (0, 1)), *(engine.score(p, ["Yes", "No"]) for p in prompts)
        )
        return [s.token_ids for group in samples for s in group], [round(s.total, 3) for two in scores for s in two]

    roomy = tiny.engine(made, slots=8)
    monkeypatch.setattr("ethos.models.decoding.TOKENS_A_SLOT", 64)  # 512 tokens in all
    tight = tiny.engine(made, slots=8)
    assert asyncio.run(everything(tight)) == asyncio.run(everything(roomy))
    assert roomy._decoding is not None
    assert tight._decoding is not None
    assert tight._decoding._cache.size_bytes < roomy._decoding._cache.size_bytes / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_logprobs_of_samples_and_scores_are_the_hugging_face_models_own(shape: str) -> None:
    engine = tiny.engine(tiny.loaded(shape))
    sample = asyncio.run(engine.sample(HELLO, SamplingParams(max_tokens=20)))[0]
    assert sample.token_ids is not None
    assert sample.logprobs is not None
    scored = asyncio.run(engine.score(HELLO, ["The reply", "Another"]))
    assert [s.token_ids for s in scored] == [engine.template.encode(reply) for reply in ("The reply", "Another")]
    prompt = engine.template.prompt(HELLO)
    model = engine.loaded.model
    with torch.no_grad():
        for tokens, found in ((s.token_ids, s.logprobs) for s in (sample, *scored)):
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0].float().log_softmax(dim=-1)
            expected = [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(tokens)]
            assert list(found) == pytest.approx(expected, abs=1e-4)


def test_a_batch_counts_each_prompt_as_its_samples_are_there() -> None:
    engine = tiny.engine(tiny.loaded(), slots=1)
    waiting: list[int] = []
    prompts = [asked(text) for text in ("One", "Two", "Three")]
    asyncio.run(engine.sample_batch(prompts, PARAMS, advance=lambda: waiting.append(len(engine._batching._owners))))
    assert waiting == [2, 1, 0]


def test_a_text_is_scored_after_its_first_token() -> None:
    engine = tiny.engine(tiny.loaded())
    scored = asyncio.run(engine.score_text("A text"))
    assert scored.token_ids == engine.template.encode(" text")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_ends_before_its_stop_string(shape: str) -> None:
    made = tiny.loaded(shape, ends=frozenset())
    free = asyncio.run(tiny.engine(made).sample(HELLO, SamplingParams(max_tokens=40)))[0]
    stop = next(c for c in free.text[3:] if c.isascii() and c.isprintable() and not c.isspace())
    engine = tiny.engine(made)
    stopped, other = asyncio.run(_both(engine, SamplingParams(max_tokens=40, stop=("never to be found", stop))))
    assert stopped.text == free.text.split(stop, 1)[0].strip()
    assert stopped.finish_reason == "stop"
    assert stopped.usage.completion_tokens < 40
    assert other.usage.completion_tokens == 40


async def _both(engine: Engine, params: SamplingParams) -> list[Sample]:
    unstopped = SamplingParams(max_tokens=40)
    groups = await asyncio.gather(engine.sample(HELLO, params), engine.sample(asked("Other"), unstopped))
    return [group[0] for group in groups]


def test_max_tokens_and_usage_count_the_tokens() -> None:
    engine = tiny.engine(tiny.loaded(ends=frozenset()))
    sample = asyncio.run(engine.sample(HELLO, SamplingParams(max_tokens=7), (3,)))[0]
    assert (sample.usage.completion_tokens, sample.finish_reason, sample.draw) == (7, "length", 3)
    assert sample.usage.prompt_tokens == len(engine.template.prompt(HELLO))
    assert len(sample.token_ids or ()) == len(sample.logprobs or ()) == 7


@pytest.mark.parametrize("shape", SHAPES)
def test_a_prompt_that_doesnt_fit_is_refused_and_leaves_nothing_behind(shape: str) -> None:
    engine = tiny.engine(tiny.loaded(shape))
    alone = asyncio.run(engine.sample(HELLO, PARAMS))
    for refused in (
        lambda: engine.sample_batch([HELLO, LONG], PARAMS),
        lambda: engine.sample(LONG, PARAMS),
        lambda: engine.score(LONG, ["yes"]),
        lambda: engine.sample(HELLO, PARAMS, range(17)),
        lambda: engine.score(HELLO, ["yes", ""]),
        lambda: engine.score_text("x"),
        lambda: engine.score_text(""),
    ):
        with pytest.raises(EthosError):
            asyncio.run(refused())
        assert tokens_of(asyncio.run(asyncio.wait_for(engine.sample(HELLO, PARAMS), 30))) == tokens_of(alone)


def test_asking_for_nothing_gives_nothing() -> None:
    engine = tiny.engine(tiny.loaded())
    assert asyncio.run(engine.sample(HELLO, PARAMS, ())) == []
    assert asyncio.run(engine.sample_batch([], PARAMS)) == []
    assert asyncio.run(engine.sample_batch([HELLO, LONG], PARAMS, ())) == [[], []]
    assert asyncio.run(engine.score(HELLO, [])) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_a_failing_job_reaches_everyone_who_waits_and_the_engine_works_afterwards(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny.engine(tiny.loaded(shape))
    alone = asyncio.run(engine.sample(HELLO, PARAMS))
    score = asyncio.run(engine.score(HELLO, ["yes"]))

    async def wait_for_all() -> list[object]:
        calls = (engine.sample(HELLO, PARAMS), engine.sample(asked("Other"), PARAMS), engine.score(HELLO, ["yes"]))
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)

    async def broken(*_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as context:
        context.setattr(engine.worker, "run", broken)
        ended = asyncio.run(wait_for_all())
    assert [type(e) for e in ended] == [MemoryError] * 3
    assert tokens_of(asyncio.run(engine.sample(HELLO, PARAMS))) == tokens_of(alone)
    assert asyncio.run(engine.score(HELLO, ["yes"]))[0].logprobs == pytest.approx(score[0].logprobs, abs=1e-5)


def test_a_caller_that_gives_up_disturbs_nobody() -> None:
    engine = tiny.engine(tiny.loaded())
    alone = asyncio.run(engine.sample(HELLO, PARAMS))

    async def give_up_on_one() -> list[Sample]:
        leaving = asyncio.create_task(engine.sample(asked("Other"), PARAMS))
        staying = asyncio.create_task(engine.sample(HELLO, PARAMS))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert tokens_of(asyncio.run(give_up_on_one())) == tokens_of(alone)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turns", [1, 9], ids=["submitted", "at work"])
def test_stopping_drops_what_is_at_work_what_waits_and_what_is_asked_later(shape: str, turns: int) -> None:
    engine, go = tiny.engine(tiny.loaded(shape), slots=1), threading.Event()

    async def story() -> list[object]:
        blocked = asyncio.create_task(engine.worker.run(go.wait))
        calls: list[asyncio.Task[object]] = [
            asyncio.create_task(call)  # type: ignore[arg-type]
            for call in (
                engine.sample(HELLO, PARAMS),
                engine.sample(asked("Other"), PARAMS),
                engine.score(HELLO, ["a"]),
            )
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        engine.stop()
        try:
            later = (engine.sample(HELLO, PARAMS), engine.score(HELLO, ["a"]))
            ended = await asyncio.wait_for(asyncio.gather(*calls, *later, return_exceptions=True), 30)
            assert not blocked.done()
            return ended
        finally:
            go.set()
            await blocked
            assert engine._batching._pump is not None
            assert engine._batching._pump.cancelled()

    assert [type(ended) for ended in asyncio.run(story())] == [asyncio.CancelledError] * 5


def test_changed_weights_are_used_at_once_and_named() -> None:
    made = tiny.loaded()
    forward = CausalForward(made.model)
    engine = tiny.engine(made, forward=forward)
    before = asyncio.run(engine.sample(HELLO, PARAMS))
    for layer in forward.layers:
        layer.qkv.weight_OE.mul_(-1.5)
    engine.weights_changed("1" * 64)
    after = asyncio.run(engine.sample(HELLO, PARAMS))
    assert engine.fingerprint == "1" * 64
    assert tokens_of(after) != tokens_of(before)
    fresh = asyncio.run(tiny.engine(made, forward=forward).sample(HELLO, PARAMS))
    assert tokens_of(after) == tokens_of(fresh)


def test_an_engine_at_work_for_one_event_loop_is_refused_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny.engine(tiny.loaded())

    async def two_loops() -> None:
        gate = asyncio.Event()
        monkeypatch.setattr(engine.worker, "gate", gate)
        waiting = asyncio.create_task(engine.sample(HELLO, PARAMS))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, engine.sample(HELLO, PARAMS))
        gate.set()
        assert len(await waiting) == 1

    asyncio.run(two_loops())
