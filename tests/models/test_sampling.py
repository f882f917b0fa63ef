from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from ethos.models.sampling import _invert, choose, noise_key, uniforms
from ethos.models.types import SamplingParams

DRAWS = 20_000
KEYS = np.array([noise_key(0, "prompt", draw) for draw in range(DRAWS)], dtype=np.uint64)
UNIFORM = uniforms(KEYS, np.zeros(DRAWS, dtype=np.uint64))


def counts(logits_V: torch.Tensor, params: SamplingParams, draws: int = DRAWS) -> np.ndarray:
    chosen = choose(logits_V.expand(draws, -1), [params] * draws, UNIFORM[:draws])
    return np.bincount(chosen.tokens_B.numpy(), minlength=len(logits_V))


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32)), min_size=1, max_size=20))
def test_uniforms_are_in_range_and_hang_on_key_and_position_alone(pairs: list[tuple[int, int]]) -> None:
    keys = np.array([key for key, _ in pairs], dtype=np.uint64)
    positions = np.array([position for _, position in pairs], dtype=np.uint64)
    together = uniforms(keys, positions)
    assert ((together >= 0) & (together < 1)).all()
    assert together.tolist() == [float(uniforms(keys[i : i + 1], positions[i : i + 1])[0]) for i in range(len(pairs))]


def test_uniforms_are_uniform_over_draws_and_over_positions() -> None:
    over_positions = uniforms(np.repeat(KEYS[:1], DRAWS), np.arange(DRAWS, dtype=np.uint64))
    assert kstest(UNIFORM, "uniform").pvalue > 0.01
    assert kstest(over_positions, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(over_positions[1:], over_positions[:-1])[0, 1]) < 0.03


def test_a_key_hangs_on_seed_prompt_and_draw() -> None:
    keys = {noise_key(seed, prompt, draw) for seed in range(3) for prompt in ("a", "b") for draw in range(11)}
    assert len(keys) == 66


@pytest.mark.parametrize("vocabulary", [7, 256, 600])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_softmax_says(vocabulary: int, temperature: float) -> None:
    torch.manual_seed(vocabulary)
    logits = 2 * torch.randn(vocabulary)
    expected = (logits / temperature).double().softmax(dim=-1).numpy() * DRAWS
    seen = counts(logits, SamplingParams(temperature=temperature))
    common = expected >= 5
    if not common.all():
        expected, seen = (
            np.append(expected[common], expected[~common].sum()),
            np.append(seen[common], seen[~common].sum()),
        )
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 0.001


def test_top_k_draws_only_from_the_k_likeliest_in_their_proportions() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0])
    seen = counts(logits, SamplingParams(top_k=2))
    assert set(np.nonzero(seen)[0]) == {1, 3}
    assert seen[1] / DRAWS == pytest.approx(float(torch.sigmoid(torch.tensor(1.0))), abs=0.01)


def test_top_p_draws_from_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for top_p, allowed in ((0.4, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (0.99, {0, 1, 2, 3})):
        assert set(np.nonzero(counts(logits, SamplingParams(top_p=top_p)))[0]) == allowed


def test_a_logprob_is_of_the_distribution_that_was_sampled_from() -> None:
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(3))
    params = [
        SamplingParams(),
        SamplingParams(temperature=0.7),
        SamplingParams(top_k=1),
        SamplingParams(temperature=0.0, top_k=3, top_p=0.1),
    ]
    chosen = choose(logits, params, UNIFORM[:4])
    rows = (logits[0], logits[1] / 0.7, None, logits[3])
    for row, of in enumerate(rows):
        expected = 0.0 if of is None else float(of.log_softmax(dim=-1)[chosen.tokens_B[row]])
        assert float(chosen.logprobs_B[row]) == pytest.approx(expected, abs=1e-5)


def test_temperature_0_takes_the_likeliest_also_beside_rows_that_sample() -> None:
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(4))
    params = [SamplingParams(temperature=0.0 if row % 2 else 1.0) for row in range(6)]
    mixed = choose(logits, params, UNIFORM[:6]).tokens_B
    sampled = choose(logits, [SamplingParams()] * 6, UNIFORM[:6]).tokens_B
    assert mixed[1::2].tolist() == logits.argmax(dim=-1)[1::2].tolist()
    assert mixed[::2].tolist() == sampled[::2].tolist()


def test_a_restricted_row_leaves_the_callers_logits_and_other_rows_alone() -> None:
    logits = torch.randn(2, 300, generator=torch.Generator().manual_seed(5))
    kept = logits.clone()
    chosen = choose(logits, [SamplingParams(top_k=1), SamplingParams()], UNIFORM[:2])
    alone = choose(logits[1:], [SamplingParams()], UNIFORM[1:2])
    assert torch.equal(logits, kept)
    assert chosen.tokens_B[1] == alone.tokens_B[0]


@given(st.floats(0, 1, exclude_max=True))
def test_no_uniform_number_draws_an_impossible_token(uniform: float) -> None:
    logits = torch.full((1, 700), -torch.inf)
    logits[0, [3, 300, 699]] = torch.tensor([0.1, -2.0, 1.0])
    chosen = choose(logits, [SamplingParams()], np.array([uniform]))
    assert int(chosen.tokens_B[0]) in {3, 300, 699}


def test_top_p_keeps_as_many_as_it_takes_of_a_flat_distribution() -> None:
    logits = torch.linspace(0, 0.01, 30_000)  # no token has a probability of 1e-4
    kept = set(np.nonzero(counts(logits, SamplingParams(top_p=0.25), draws=1000))[0])
    assert min(kept) == pytest.approx(22_500, abs=150)


def test_top_p_is_taken_of_what_top_k_has_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert set(np.nonzero(counts(logits, SamplingParams(top_k=2, top_p=0.5)))[0]) == {0}


@given(st.integers(0, 10_000), st.floats(0.05, 0.999))
def test_top_p_of_many_rows_is_that_of_each_by_its_definition(seed: int, top_p: float) -> None:
    noise = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.01, 1.0, 5.0, 20.0])[:, None]
    logits = (spread * torch.randn(4, 3000, generator=noise)).round(decimals=1)  # ties, and rows flat and steep
    uniform = torch.rand(4, generator=noise).double().numpy()
    chosen = choose(logits, [SamplingParams(top_p=top_p)] * 4, uniform)
    for row in range(4):
        probabilities = logits[row].softmax(dim=-1).double()
        ordered, order = probabilities.sort(descending=True, stable=True)
        kept = order[: 1 + int((ordered.cumsum(0)[:-1] < top_p).sum())].sort().values
        cumulative = probabilities[kept].cumsum(0)
        place = int(torch.searchsorted(cumulative, uniform[row] * cumulative[-1], right=True))
        expected = min(place, len(kept) - 1)
        assert int(chosen.tokens_B[row]) == int(kept[expected])
        share = float(probabilities[kept[expected]] / cumulative[-1])
        assert float(chosen.logprobs_B[row].exp()) == pytest.approx(share, rel=1e-4)


def test_what_rounding_adds_to_a_block_falls_to_none_of_its_impossible_tokens() -> None:
    """A block's mass is added up in fp32, and its tokens in fp64."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        row = torch.rand(512, generator=generator)
        row[255] = 0.0
        rough, exact = row[:256].sum().double(), row[:256].double().sum()
        if rough > exact:
            break
    assert rough > exact
    total = rough + row[256:].sum().double()
    between = np.array([float((rough + exact) / 2 / total)])
    assert _invert(row[None], torch.from_numpy(between)).tolist() == [254]
