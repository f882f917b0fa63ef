from __future__ import annotations

from typing import Any

import pytest

from ethos.models.types import SamplingParams


@pytest.mark.parametrize(
    "asked", [{"max_tokens": 0}, {"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}]
)
def test_what_no_sampler_can_do_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="asks for"):
        SamplingParams(**asked)


def test_a_greedy_reply_is_the_same_for_every_seed() -> None:
    assert SamplingParams(temperature=0, seed=7) == SamplingParams(temperature=0)
    assert SamplingParams(temperature=0.1, seed=7) != SamplingParams(temperature=0.1)
