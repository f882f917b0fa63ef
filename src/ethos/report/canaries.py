"""What training did to capability: canaries before and after, each against its limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ethos.report.comparison import as_difference
from ethos.report.inputs import CanaryReading
from ethos.statistics.paired import paired_difference
from ethos.statistics.perplexity import perplexity_ratio

LARGEST_PERPLEXITY_RATIO = 1.10
LARGEST_FALL_OF_QUESTIONS = 0.05


def compare_canaries(base: CanaryReading | None, trained: CanaryReading | None) -> dict[str, Any]:
    """The report's `canaries`: empty if either reading is missing, and without a measure that nobody took."""
    if base is None or trained is None:
        return {}
    canaries: dict[str, Any] = {}
    if len(base.passages.keys() & trained.passages.keys()) > 1:
        ratio = perplexity_ratio(base.passages, trained.passages)
        canaries["perplexity"] = {
            "base": ratio.before,
            "trained": ratio.after,
            "ratio": ratio.ratio,
            "interval": [ratio.low, ratio.high],
            "limit": LARGEST_PERPLEXITY_RATIO,
            "passed": ratio.ratio <= LARGEST_PERPLEXITY_RATIO,
            "n": ratio.n,
        }
    if base.questions.keys() & trained.questions.keys():
        answers = _rates(base.questions, trained.questions)
        passed = answers["difference"] >= -LARGEST_FALL_OF_QUESTIONS
        canaries["questions"] = {**answers, "limit": -LARGEST_FALL_OF_QUESTIONS, "passed": passed}
    if base.refusals.keys() & trained.refusals.keys():
        canaries["refusals"] = _rates(base.refusals, trained.refusals)
    canaries["reply_words"] = {"base": base.reply_words, "trained": trained.reply_words}
    return canaries


def _rates(base: Mapping[str, bool], trained: Mapping[str, bool]) -> dict[str, Any]:
    shared = [prompt for prompt in base if prompt in trained]
    before = {prompt: float(base[prompt]) for prompt in shared}
    after = {prompt: float(trained[prompt]) for prompt in shared}
    return {
        "base": sum(before.values()) / len(shared),
        "trained": sum(after.values()) / len(shared),
        **as_difference(paired_difference(after, before, {prompt: prompt for prompt in shared})),
        "n": len(shared),
    }
