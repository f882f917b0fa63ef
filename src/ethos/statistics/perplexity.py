"""How much the perplexity of fixed texts changed, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ethos.statistics.paired import RESAMPLES


@dataclass(frozen=True, slots=True)
class PassageLoss:
    """What one model makes of one passage: summed negative log-likelihood, and tokens."""

    nats: float
    tokens: int


@dataclass(frozen=True, slots=True)
class PerplexityRatio:
    """Perplexity of both models over the same passages, and after / before with its 95% interval."""

    before: float
    after: float
    ratio: float
    low: float
    high: float
    n: int


def perplexity_ratio(
    before: Mapping[str, PassageLoss], after: Mapping[str, PassageLoss], seed: int = 0
) -> PerplexityRatio:
    """Compares two models on the passages that both read, weighing each by its tokens.

    The interval is the percentile one of resampled passages, m - 1 of m (Rao and Wu 1988,
    doi:10.1080/01621459.1988.10478591). Raises ValueError if fewer than two passages are shared.
    """
    shared = [passage for passage in before if passage in after]
    if len(shared) < 2:
        raise ValueError(f"a perplexity ratio needs at least two passages read by both; {len(shared)} are")
    tokens = np.array([before[p].tokens for p in shared], dtype=float)
    nats_before = np.array([before[p].nats for p in shared])
    nats_after = np.array([after[p].nats for p in shared])
    drawn = np.random.default_rng(seed).integers(0, len(shared), (RESAMPLES, len(shared) - 1))
    ratios = np.exp((nats_after - nats_before)[drawn].sum(axis=1) / tokens[drawn].sum(axis=1))
    perplexity_before = float(np.exp(nats_before.sum() / tokens.sum()))
    perplexity_after = float(np.exp(nats_after.sum() / tokens.sum()))
    low, high = np.quantile(ratios, [0.025, 0.975])
    ratio = perplexity_after / perplexity_before
    return PerplexityRatio(perplexity_before, perplexity_after, ratio, float(low), float(high), len(shared))
