from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ethos.models.architecture import CausalForward
from ethos.models.decoding import Decoding, Running
from ethos.models.sampling import noise_key
from ethos.models.types import SamplingParams
from models import tiny

GREEDY = SamplingParams(max_tokens=12, temperature=0.0)
NEVER = frozenset({-1})


def prompt(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, length)


def running(tokens: np.ndarray, params: SamplingParams, draw: int = 0) -> Running:
    return Running(tokens, params, noise_key(params.seed, tokens.tobytes().hex(), draw), draw)


def decoding(shape: str = "llama", ends: frozenset[int] = NEVER, slots: int = 8, prefix_bytes: int = 2**20) -> Decoding:
    return Decoding(CausalForward(tiny.model(shape)), ends, slots, prefix_bytes)


def decode(made: Decoding, groups: Sequence[Sequence[Running]]) -> None:
    made.admit(groups)
    while made.running:
        made.step()


@pytest.mark.parametrize("shape", tiny.KNOWN)
def test_greedy_tokens_are_those_of_generate(shape: str) -> None:
    model = tiny.model(shape)
    prompts = [prompt(length, length) for length in (3, 17, 8)]
    expected = []
    for tokens in prompts:
        out = model.generate(torch.from_numpy(tokens)[None], max_new_tokens=12, do_sample=False, eos_token_id=-1)
        expected.append(out[0, len(tokens) :].tolist())
    sequences = [running(tokens, GREEDY) for tokens in prompts]
    decode(Decoding(CausalForward(model), NEVER, 8, 2**20), [[s] for s in sequences])
    assert [s.tokens for s in sequences] == expected
    assert {s.finish for s in sequences} == {"length"}


def test_a_draw_is_the_same_alone_and_among_others() -> None:
    params = SamplingParams(max_tokens=16)
    alone = [running(prompt(9, 1), params, draw) for draw in range(3)]
    for sequence in alone:
        decode(decoding(), [[sequence]])
    together = [running(prompt(9, 1), params, draw) for draw in range(3)]
    others = [[running(prompt(length, length), params)] for length in (4, 30)]
    decode(decoding(), [others[0], together, others[1]])
    assert [s.tokens for s in together] == [s.tokens for s in alone]
    assert len({tuple(s.tokens) for s in together}) == 3
    for mine, own in zip(together, alone, strict=True):
        assert mine.logprobs == pytest.approx(own.logprobs, abs=1e-4)


def test_sequences_that_join_and_end_at_different_times_dont_disturb_each_other() -> None:
    limits = (2, 9, 5, 14, 1, 7)
    sequences = [running(prompt(5 + i, i), SamplingParams(max_tokens=limit), draw=i) for i, limit in enumerate(limits)]
    made = decoding(slots=4)
    waiting, most = [[s] for s in sequences], 0
    while waiting or made.running:
        if waiting and made.has_room(1, waiting[0][0].limit):
            made.admit([waiting.pop(0)])
            most = max(most, len(made.running))
        if made.running:
            made.step()
    assert most > 1
    for i, (sequence, limit) in enumerate(zip(sequences, limits, strict=True)):
        alone = running(sequence.prompt, sequence.params, draw=i)
        decode(decoding(), [[alone]])
        assert sequence.tokens == alone.tokens
        assert len(sequence.tokens) == limit


def test_an_end_token_ends_a_sequence_and_is_kept() -> None:
    free = running(prompt(9, 1), GREEDY)
    decode(decoding(), [[free]])
    end = free.tokens[4]
    first = free.tokens.index(end)
    ended = running(prompt(9, 1), GREEDY)
    made = decoding(ends=frozenset({end}))
    decode(made, [[ended]])
    assert ended.tokens == free.tokens[: first + 1]
    assert ended.finish == "stop"
    assert made.running == []


@pytest.mark.parametrize("prefix_bytes", [0, 2**20])
def test_a_kept_prefix_changes_no_token(prefix_bytes: int) -> None:
    params = SamplingParams(max_tokens=8)
    shared = prompt(60, 0)
    prompts = [np.concatenate((shared[:cut], prompt(5, cut))) for cut in (60, 60, 50, 20)] + [shared[:60], shared[:40]]
    fresh = [running(tokens, params, draw) for draw, tokens in enumerate(prompts)]
    for sequence in fresh:
        decode(decoding(), [[sequence]])
    made = decoding(prefix_bytes=prefix_bytes)
    for _ in range(2):
        again = [running(tokens, params, draw) for draw, tokens in enumerate(prompts)]
        decode(made, [[s] for s in again])
        assert [s.tokens for s in again] == [s.tokens for s in fresh]
    one_by_one = [running(tokens, params, draw) for draw, tokens in enumerate(prompts)]
    for sequence in one_by_one:
        decode(made, [[sequence]])
    assert [s.tokens for s in one_by_one] == [s.tokens for s in fresh]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass of prefill."""
    found: list[int] = []
    extend = Decoding._extend

    def counting(self: Decoding, news: Sequence[np.ndarray], *rest: list[int]) -> torch.Tensor:
        found.append(sum(map(len, news)))
        return extend(self, news, *rest)

    monkeypatch.setattr(Decoding, "_extend", counting)
    return found


def test_a_shared_beginning_is_computed_once(computed: list[int]) -> None:
    shared = prompt(100, 0)
    decoding().admit([[running(np.concatenate((shared, prompt(4, i))), GREEDY)] for i in range(3)])
    assert sum(computed) == 104 + 4 + 4


def test_prompts_that_go_on_from_a_kept_one_dont_push_out_another(computed: list[int]) -> None:
    one, other = prompt(100, 0), prompt(100, 1)
    forward = decoding().forward
    token_bytes = 2 * len(forward.layers) * forward.kv_heads * forward.head_width * forward.dtype.itemsize
    made = decoding(prefix_bytes=300 * token_bytes)
    for tokens in (other, *(np.concatenate((one, prompt(4, i))) for i in range(8)), other):
        decode(made, [[running(tokens, GREEDY)]])
    assert computed == [100, 104, *[4] * 7, 1]


def test_forgetting_computes_prompts_by_the_new_weights() -> None:
    made = decoding()
    before = running(prompt(40, 0), GREEDY)
    decode(made, [[before]])
    with torch.no_grad():
        for layer in made.forward.layers:
            layer.qkv.weight_OE.mul_(-1.5)
    made.forget()
    after, fresh = running(prompt(40, 0), GREEDY), running(prompt(40, 0), GREEDY)
    decode(made, [[after]])
    decode(Decoding(made.forward, NEVER, 8, 2**20), [[fresh]])
    assert after.tokens == fresh.tokens
    assert after.logprobs == pytest.approx(fresh.logprobs, abs=1e-5)


@pytest.mark.parametrize("length", [1, 2, 70])
def test_scores_are_the_hugging_face_models_own_and_leave_running_sequences_alone(length: int) -> None:
    model = tiny.model()
    made = Decoding(CausalForward(model), NEVER, 8, 2**20)
    sequence, alone = (running(prompt(9, 1), GREEDY) for _ in range(2))
    made.admit([[sequence]])
    tasks = [(prompt(12, 2), [prompt(length, 3), prompt(5, 4)]), (prompt(30, 5), [prompt(3, 6)])]
    for (asked, replies), scored in zip(tasks, made.score_many(tasks), strict=True):
        for reply, score in zip(replies, scored, strict=True):
            whole = torch.from_numpy(np.concatenate((asked, reply)))
            with torch.no_grad():
                logprobs = model(input_ids=whole[None]).logits[0].log_softmax(dim=-1)
            expected = [float(logprobs[len(asked) - 1 + i, token]) for i, token in enumerate(reply)]
            assert score.token_ids == tuple(reply)
            assert score.logprobs == pytest.approx(expected, abs=1e-4)
    while made.running:
        made.step()
    decode(Decoding(made.forward, NEVER, 8, 2**20), [[alone]])
    assert sequence.tokens == alone.tokens


def test_a_sampled_tokens_logprob_is_its_teacher_forced_score() -> None:
    made = decoding()
    sequences = [running(prompt(9, 1), SamplingParams(max_tokens=15), draw) for draw in range(3)]
    decode(made, [sequences])
    scored = made.score_many([(prompt(9, 1), [np.array(s.tokens) for s in sequences])])[0]
    for sequence, score in zip(sequences, scored, strict=True):
        assert score.logprobs == pytest.approx(sequence.logprobs, abs=1e-4)
