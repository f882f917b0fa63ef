from __future__ import annotations

import numpy as np
import pytest
import torch

from ethos.models.architecture import CausalForward
from ethos.models.attention import whole_spans
from ethos.models.decoding import Decoding, Running
from ethos.models.fallback import decode_closed, logprobs_padded, score_closed
from ethos.models.sampling import noise_key
from ethos.models.types import SamplingParams
from models import tiny

PROMPTS = [np.random.default_rng(seed).integers(0, 256, length) for seed, length in enumerate((4, 21, 9))]
SHAPES = (*tiny.UNKNOWN, "llama", "qwen3")


def running(params: SamplingParams) -> list[Running]:
    return [Running(prompt, params, noise_key(0, str(i), 0), 0) for i, prompt in enumerate(PROMPTS)]


def never(_: Running) -> bool:
    return False


@pytest.mark.parametrize("shape", tiny.UNKNOWN)
def test_greedy_tokens_are_those_of_generate(shape: str) -> None:
    model = tiny.model(shape)
    sequences = running(SamplingParams(max_tokens=10, temperature=0.0))
    decode_closed(model, sequences, frozenset(), never)
    for sequence in sequences:
        asked = torch.from_numpy(sequence.prompt)[None]
        own = model.generate(asked, max_new_tokens=10, do_sample=False, eos_token_id=-1)[0, asked.shape[1] :]
        assert sequence.tokens == own.tolist()
        assert sequence.finish == "length"


def test_its_draws_are_those_of_the_functional_forward() -> None:
    model = tiny.model()
    slow, fast = running(SamplingParams(max_tokens=20)), running(SamplingParams(max_tokens=20))
    decode_closed(model, slow, frozenset({tiny.END}), never)
    decoding = Decoding(CausalForward(model), frozenset({tiny.END}), 4, 2**20)
    decoding.admit([[sequence] for sequence in fast])
    while decoding.running:
        decoding.step()
    assert [s.tokens for s in slow] == [s.tokens for s in fast]
    for mine, own in zip(slow, fast, strict=True):
        assert mine.logprobs == pytest.approx(own.logprobs, abs=1e-4)


@pytest.mark.parametrize("shape", tiny.UNKNOWN)
def test_a_sampled_tokens_logprob_is_its_score(shape: str) -> None:
    model = tiny.model(shape)
    sequences = running(SamplingParams(max_tokens=12))
    decode_closed(model, sequences, frozenset(), never)
    for sequence in sequences:
        scored = score_closed(model, sequence.prompt, [np.array(sequence.tokens)])[0]
        assert scored.token_ids == tuple(sequence.tokens)
        assert scored.logprobs == pytest.approx(sequence.logprobs, abs=1e-4)


def test_a_sequence_that_has_ended_grows_no_further() -> None:
    model = tiny.model("gpt-neox")
    free = running(SamplingParams(max_tokens=12))
    decode_closed(model, free, frozenset(), never)
    end = free[0].tokens[3]
    ended = running(SamplingParams(max_tokens=12))
    decode_closed(model, ended, frozenset({end}), never)
    for mine, own in zip(ended, free, strict=True):
        length = own.tokens.index(end) + 1 if end in own.tokens else 12
        assert mine.tokens == own.tokens[:length]
        assert mine.finish == ("stop" if end in own.tokens else "length")
    assert ended[0].finish == "stop"


@pytest.mark.parametrize("shape", SHAPES)
def test_padded_rows_have_the_logprobs_of_each_row_alone(shape: str) -> None:
    model = tiny.model(shape)
    lengths = [len(p) for p in PROMPTS]
    tokens_N = torch.from_numpy(np.concatenate(PROMPTS))
    sources, expected = [], []
    start = 0
    for length in lengths:
        with torch.no_grad():
            logprobs = model(input_ids=tokens_N[start : start + length][None]).logits[0].log_softmax(dim=-1)
        expected += [float(logprobs[i, tokens_N[start + i + 1]]) for i in range(length - 1)]
        sources += range(start, start + length - 1)
        start += length
    sources_M = torch.tensor(sources)
    found = logprobs_padded(model, tokens_N, whole_spans(lengths), sources_M, tokens_N[sources_M + 1])
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
