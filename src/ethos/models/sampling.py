"""From logits to tokens. A draw's noise depends on (seed, prompt digest, draw, position) alone.

One uniform number a token, turned into a token through the inverse of the distribution's cumulative sum: it costs one
pass of `exp` over the vocabulary, where a Gumbel perturbation costs two more and a random number for each entry.
Shapes: `B` sequences, `V` vocabulary, `C` blocks of the vocabulary, `F` flat tokens of several sequences.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ethos.models.types import SamplingParams

_BLOCK, _SMALLEST_BLOCK = 256, 64
_FLOORS = (1e-4, 1e-5, 0.0)  # probabilities: nearly always the tokens above the first reach top_p
_MOST_ENTRIES = 2**24  # of probabilities at once: of flat distributions all are gathered, at some 50 bytes each
_BIN_BITS = 17  # of the 23 of a float's fraction: 64 bins an octave


def noise_key(seed: int, prompt_digest: str, draw: int) -> int:
    """64 bits that stand for one draw of one prompt."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt_digest}/{draw}".encode()).digest()[:8], "big")


def uniforms(keys_B: np.ndarray, positions_B: np.ndarray) -> np.ndarray:
    """One number in [0, 1) for each (draw, position), by SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = keys_B.astype(np.uint64) + (positions_B.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)).astype(np.float64) / float(1 << 53))


@dataclass(frozen=True, slots=True)
class Chosen:
    """One token a sequence, and its log-probability under the distribution sampled from."""

    tokens_B: Tensor
    logprobs_B: Tensor


def choose(logits_BV: Tensor, params: list[SamplingParams], uniform_B: np.ndarray) -> Chosen:
    """Draws one token for each row of fp32 logits. Greedy rows report log-probabilities at temperature 1."""
    temperatures = torch.tensor([p.temperature or 1.0 for p in params], device=logits_BV.device)
    scaled_BV = logits_BV if bool((temperatures == 1).all()) else logits_BV / temperatures[:, None]
    probabilities_BV = scaled_BV.softmax(dim=-1)
    noise_B = torch.from_numpy(uniform_B).to(logits_BV.device)
    cut = [row for row, p in enumerate(params) if p.temperature > 0 and p.top_p < 1]
    uncut = [row for row, p in enumerate(params) if p.temperature > 0 and p.top_p >= 1]
    for row, p in enumerate(params):
        if p.temperature > 0 and 0 < p.top_k < probabilities_BV.shape[1]:
            _keep_top_k(probabilities_BV[row], p.top_k)
    tokens_B = torch.empty(len(params), dtype=torch.long, device=logits_BV.device)
    mass_B = torch.ones(len(params), device=logits_BV.device)
    if greedy := [row for row, p in enumerate(params) if p.temperature == 0]:
        tokens_B[greedy] = _rows(scaled_BV, greedy).argmax(dim=-1)
    if uncut:
        tokens_B[uncut] = _invert(_rows(probabilities_BV, uncut), noise_B[uncut])
    if cut:
        top_p = torch.tensor([params[row].top_p for row in cut], dtype=torch.float64, device=logits_BV.device)
        tokens_B[cut], mass_B[cut] = _draw_from_top_p(_rows(probabilities_BV, cut), top_p, noise_B[cut])
    return Chosen(tokens_B, (probabilities_BV.gather(1, tokens_B[:, None]).squeeze(1) / mass_B).log())


def _rows(values_BV: Tensor, rows: list[int]) -> Tensor:
    """Those rows; without a copy if they are all."""
    return values_BV if len(rows) == values_BV.shape[0] else values_BV[rows]


def _invert(probabilities_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first token at which the cumulative probability passes the uniform number: by block, then within it."""
    rows, vocabulary = probabilities_BV.shape
    block = math.gcd(vocabulary, _BLOCK)
    if block < _SMALLEST_BLOCK:
        block = _BLOCK
        probabilities_BV = torch.nn.functional.pad(probabilities_BV, (0, -vocabulary % block))
    blocks_BCX = probabilities_BV.view(rows, -1, block)
    mass_BC = blocks_BCX.sum(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    target_B1 = (uniform_B * mass_BC[:, -1])[:, None]
    block_B = torch.searchsorted(mass_BC, target_B1, right=True).clamp_(max=mass_BC.shape[1] - 1).squeeze(1)
    every = torch.arange(rows, device=probabilities_BV.device)
    before_B = torch.where(block_B > 0, mass_BC[every, (block_B - 1).clamp(min=0)], 0.0)
    inside_BX = blocks_BCX[every, block_B].double().cumsum(dim=-1)
    # the block's mass was added up in fp32: what is left of the number may be more than all that is inside
    rest_B1 = torch.minimum(target_B1 - before_B[:, None], inside_BX[:, -1:] * (1 - 2**-40))
    offset_B = torch.searchsorted(inside_BX, rest_B1, right=True).clamp_(max=block - 1).squeeze(1)
    return (block_B * block + offset_B).clamp_(max=vocabulary - 1)


def _keep_top_k(probabilities_V: Tensor, k: int) -> None:
    floor = probabilities_V.topk(k).values[-1]
    probabilities_V[probabilities_V < floor] = 0.0
    probabilities_V /= probabilities_V.sum()


def _draw_from_top_p(probabilities_BV: Tensor, top_p_B: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """A token of each row's smallest set whose probability reaches top_p, and that set's probability.

    The set is Holtzman et al.'s (2020), of two tokens alike the first. The inverse is taken in the vocabulary's order.
    """
    at_once = max(1, _MOST_ENTRIES // max(probabilities_BV.shape[1], 1 << (30 - _BIN_BITS)))
    if len(top_p_B) > at_once:
        parts = zip(*(each.split(at_once) for each in (probabilities_BV, top_p_B, uniform_B)), strict=True)
        tokens, masses = zip(*(_draw_from_top_p(*part) for part in parts), strict=True)
        return torch.cat(tokens), torch.cat(masses)
    row_F, token_F, value_F = _likeliest(probabilities_BV, top_p_B)
    kept_F = _is_in_top_p(row_F, value_F, top_p_B)
    row_F, token_F, value_F = row_F[kept_F], token_F[kept_F], value_F[kept_F].double()
    mass_B = _sums(row_F, value_F, len(top_p_B))
    passed_F = _sums_before(row_F, value_F, len(top_p_B)) <= (uniform_B * mass_B)[row_F]
    place_B = _sums(row_F, passed_F.double(), len(top_p_B)).long() - 1 + _starts(row_F, len(top_p_B))
    return token_F[place_B], mass_B.float()


def _likeliest(probabilities_BV: Tensor, top_p_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row all tokens down to some probability that reach top_p together: rows, tokens, probabilities, flat.

    They come in the order of rows, then of the vocabulary.
    """
    floor_B = torch.full_like(top_p_B, _FLOORS[0], dtype=probabilities_BV.dtype)
    waiting_B = torch.arange(len(top_p_B), device=probabilities_BV.device)
    for floor, lower in pairwise(_FLOORS):
        left_BV = probabilities_BV if len(waiting_B) == len(top_p_B) else probabilities_BV[waiting_B]
        mass_B = (left_BV * (left_BV > floor)).sum(dim=1, dtype=torch.float64)
        waiting_B = waiting_B[mass_B < top_p_B[waiting_B]]
        if len(waiting_B) == 0:
            break
        floor_B[waiting_B] = lower
    row_F, token_F = (probabilities_BV > floor_B[:, None]).nonzero(as_tuple=True)
    return row_F, token_F, probabilities_BV[row_F, token_F]


def _is_in_top_p(row_F: Tensor, value_F: Tensor, top_p_B: Tensor) -> Tensor:
    """Which of the tokens are in their row's smallest set that reaches top_p.

    Sorting them would cost more than a model's step. They are counted into bins of nearly the same probability, and
    only those in the bin in which a row reaches top_p are sorted.
    """
    bin_F = value_F.view(torch.int32).to(torch.long) >> _BIN_BITS  # a float's bits grow as it does
    rows, bins = len(top_p_B), int(bin_F.max()) + 1
    mass_BC = _sums(row_F * bins + bin_F, value_F.double(), rows * bins).view(rows, bins)
    above_BC = mass_BC.flip(1).cumsum(1).flip(1) - mass_BC
    last_B = (above_BC < top_p_B[:, None]).int().argmax(dim=1)
    kept_F = bin_F > last_B[row_F]
    place_F = (bin_F == last_B[row_F]).nonzero().squeeze(1)
    by_value_F = place_F[value_F[place_F].argsort(descending=True, stable=True)]
    place_F = by_value_F[row_F[by_value_F].argsort(stable=True)]
    row_F, value_F = row_F[place_F], value_F[place_F].double()
    above_F = above_BC[torch.arange(rows, device=last_B.device), last_B][row_F]
    kept_F[place_F] = above_F + _sums_before(row_F, value_F, rows) < top_p_B[row_F]
    return kept_F


def _sums(row_F: Tensor, value_F: Tensor, rows: int) -> Tensor:
    """Of each row's values."""
    return value_F.new_zeros(rows).index_add_(0, row_F, value_F)


def _starts(row_F: Tensor, rows: int) -> Tensor:
    """Where each row begins; rows come one after another."""
    return torch.searchsorted(row_F, torch.arange(rows, device=row_F.device))


def _sums_before(row_F: Tensor, value_F: Tensor, rows: int) -> Tensor:
    """Of the values that come before each one in its row; rows come one after another."""
    before_F = value_F.cumsum(0) - value_F
    return before_F - before_F[_starts(row_F, rows)][row_F]
