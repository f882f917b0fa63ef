from __future__ import annotations

import numpy as np
import pytest

from ethos.statistics.perplexity import PassageLoss, perplexity_ratio


def test_passages_weigh_by_their_tokens() -> None:
    before = {"long": PassageLoss(300.0, 100), "short": PassageLoss(20.0, 10)}
    after = {
        "long": PassageLoss(310.0, 100),
        "short": PassageLoss(20.0, 10),
        "only_after": PassageLoss(9.0, 1),
    }
    ratio = perplexity_ratio(before, after)
    assert ratio.before == pytest.approx(np.exp(320 / 110))
    assert ratio.ratio == pytest.approx(np.exp(10 / 110))
    assert ratio.n == 2


def test_the_interval_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        before = {str(i): PassageLoss(float(rng.normal(300, 30)), 100) for i in range(24)}
        after = {i: PassageLoss(loss.nats + float(rng.normal(5, 5)), 100) for i, loss in before.items()}
        ratio = perplexity_ratio(before, after)
        assert ratio.low < ratio.ratio < ratio.high
        covered += ratio.low <= np.exp(0.05) <= ratio.high
    assert covered >= 88


def test_one_passage_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two passages"):
        perplexity_ratio({"a": PassageLoss(1.0, 1)}, {"a": PassageLoss(1.0, 1)})
