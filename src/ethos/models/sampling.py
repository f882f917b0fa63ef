"""From logits to tokens. A draw's noise depends on (seed, prompt digest, draw, position) alone.

One uniform number a token, turned into a token through the inverse of the distribution's cumulative sum: it costs one
pass of `exp` over the vocabulary, where a Gumbel perturbation costs two more and a random number for each entry.
Shapes: `B` sequences, `V` vocabulary, `C` blocks of the vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ethos.models.types import SamplingParams

_BLOCK, _SMALLEST_BLOCK = 256, 64
_LIKELY = 1e-4  # a probability


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
    for row, p in enumerate(params):
        if p.temperature > 0 and (p.top_k > 0 or p.top_p < 1):
            _restrict(probabilities_BV[row], p)
    sampled = [row for row, p in enumerate(params) if p.temperature > 0]
    if len(sampled) == len(params):
        tokens_B = _invert(probabilities_BV, torch.from_numpy(uniform_B).to(logits_BV.device))
    else:
        tokens_B = scaled_BV.argmax(dim=-1)
        if sampled:
            uniform = torch.from_numpy(uniform_B[sampled]).to(logits_BV.device)
            tokens_B[sampled] = _invert(probabilities_BV[sampled], uniform)
    return Chosen(tokens_B, probabilities_BV.gather(1, tokens_B[:, None]).squeeze(1).log())


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
    rest_B1 = target_B1 - before_B[:, None]
    offset_B = torch.searchsorted(inside_BX, rest_B1, right=True).clamp_(max=block - 1).squeeze(1)
    return (block_B * block + offset_B).clamp_(max=vocabulary - 1)


def _restrict(probabilities_V: Tensor, params: SamplingParams) -> None:
    """Keeps the top k, then the smallest set of them whose probability reaches top_p (Holtzman et al. 2020)."""
    if 0 < params.top_k < probabilities_V.shape[0]:
        floor = probabilities_V.topk(params.top_k).values[-1]
        probabilities_V[probabilities_V < floor] = 0.0
        probabilities_V /= probabilities_V.sum()
    if params.top_p < 1:
        # sorting a whole vocabulary costs more than the model's step; nearly always the likely tokens suffice
        likely = (probabilities_V >= _LIKELY).nonzero().squeeze(1)
        if float(probabilities_V[likely].sum()) < params.top_p:
            likely = torch.arange(probabilities_V.shape[0], device=probabilities_V.device)
        ordered, order = probabilities_V[likely].sort(descending=True, stable=True)
        kept = likely[order[ordered.cumsum(dim=-1) - ordered < params.top_p]]
        values = probabilities_V[kept]
        probabilities_V.zero_()
        probabilities_V[kept] = values / values.sum()
