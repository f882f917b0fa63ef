"""How well scores tell good from bad: the area under the ROC curve, and the cut that tells best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from ethos.statistics.proportions import Z_95

_DECIMALS = 4  # of scores that are told apart


@dataclass(frozen=True, slots=True)
class Auc:
    """The probability that a good reply scores above a bad one, ties counting half, with its 95% interval."""

    estimate: float
    low: float
    high: float
    n_good: int
    n_bad: int


def auc_with_interval(scores_good: Sequence[float], scores_bad: Sequence[float]) -> Auc:
    """The AUC with a score-like 95% interval, which has width even at perfect separation.

    Source: Newcombe 2006, doi:10.1002/sim.2324, method 5: the Hanley-McNeil variance at the bound itself
    rather than at the estimate. DeLong's interval is left out: it has no width at an AUC of 1. Raises
    ValueError if a class is empty.
    """
    n_good, n_bad = len(scores_good), len(scores_bad)
    if not n_good or not n_bad:
        raise ValueError("an AUC needs good and bad replies")
    ranks = rankdata([*scores_good, *scores_bad])
    estimate = float((ranks[:n_good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))

    pairs_beyond = (n_good + n_bad) / 2 - 1

    def excess(bound: float) -> float:
        spread = 1 + pairs_beyond * (1 - bound) / (2 - bound) + pairs_beyond * bound / (1 + bound)
        return abs(estimate - bound) - Z_95 * sqrt(bound * (1 - bound) * spread / (n_good * n_bad))

    edge = 1e-9
    low = float(brentq(excess, 0.0, min(estimate, 1 - edge))) if estimate > edge else 0.0
    high = float(brentq(excess, max(estimate, edge), 1.0)) if estimate < 1 - edge else 1.0
    return Auc(estimate, low, high, n_good, n_bad)


def best_cut(scores_good: Sequence[float], scores_bad: Sequence[float]) -> float:
    """The cut with the best balanced accuracy, a score at or above it passing.

    Cuts lie midway between neighbouring scores, so between the classes where they are separable; of equally
    good ones, that in the widest gap is taken. Scores that agree to four decimals are one: a cut between them would
    part equal odds by the noise of their computation. Raises ValueError if a class is empty.
    """
    if not scores_good or not scores_bad:
        raise ValueError("a cut needs good and bad replies")
    good, bad = np.round(scores_good, _DECIMALS), np.round(scores_bad, _DECIMALS)
    distinct = np.unique(np.concatenate([good, bad]))
    if len(distinct) == 1:
        return float(distinct[0])
    cuts, gaps = (distinct[1:] + distinct[:-1]) / 2, np.diff(distinct)
    accuracy = ((good[:, None] >= cuts).mean(axis=0) + (bad[:, None] < cuts).mean(axis=0)) / 2
    return float(cuts[np.lexsort((gaps, accuracy))[-1]])
