"""Calibration replies that the teacher writes: good ones, and near-misses to the same messages.

The teacher answers each message twice over, with the clause in its prompt and without. A small teacher doesn't always
do what it is told, nor leave undone what it isn't; so of each kind those replies are kept that its own likelihoods put
there: the good ones that the clause makes likelier the most, and the near-misses that it makes likelier the least; and
of all pairs those that lie furthest apart, as there are messages to which a clause has little to say. The judge and its
question have no part in it. Equal lengths keep a judge from passing by counting words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ethos.judging.checks import run_checks
from ethos.judging.clause_reading import rule_of
from ethos.judging.few_shot import load_few_shot
from ethos.judging.labelled import CalibrationReply
from ethos.judging.wording import conversation_text
from ethos.models.types import Sampler, SamplingParams, Scorer
from ethos.spec.conversation import Conversation
from ethos.spec.language import words
from ethos.spec.types import Clause, Spec

SCENARIOS = 8
PAIRS_PER_SCENARIO = 4
PAIRS = 24  # kept, at most
DRAWS = 10  # of each kind: enough that the clearest four find near-misses of their length
LONGEST_RATIO = 1.25
PARAMS = SamplingParams(max_tokens=100, temperature=0.9)


async def generate_calibration(
    clause: Clause, spec: Spec, teacher: Sampler, prompts: Sequence[Conversation]
) -> list[CalibrationReply]:
    """Up to 24 good replies and as many near-misses, to the first eight prompts, at most four of each to one.

    A teacher that gives no likelihoods is believed as it writes. Fewer replies than are needed are no error here:
    `calibrate` says that the clause can't be measured, and why.
    """
    found = await asyncio.gather(*(_pairs_for(clause, spec, teacher, prompt) for prompt in prompts[:SCENARIOS]))
    pairs = [pair for pairs in found for pair in pairs]
    clearest = sorted(range(len(pairs)), key=lambda place: -pairs[place].gap)[:PAIRS]
    return [
        CalibrationReply(clause.id, pair.message, reply, good=is_good)
        for pair in (pairs[place] for place in sorted(clearest))
        for reply, is_good in ((pair.good, True), (pair.bad, False))
    ]


@dataclass(frozen=True, slots=True)
class _Pair:
    message: str
    good: str
    bad: str
    gap: float  # how much more the rule raises the good one's log-likelihood


async def _pairs_for(clause: Clause, spec: Spec, teacher: Sampler, prompt: Conversation) -> list[_Pair]:
    message = conversation_text(prompt)
    with_rule = load_few_shot("rule_reply", spec.language).fill({"rule": rule_of(clause, spec), "message": message})
    without = load_few_shot("plain_reply", spec.language).fill({"message": message})
    followed, plain = await asyncio.gather(*(_drawn(teacher, asked) for asked in (with_rule, without)))
    good, bad = (
        [reply for reply in replies if all(result.passed for result in run_checks(clause, prompt, reply))]
        for replies in (followed, [reply for reply in plain if reply not in followed])
    )
    gains = await _gains(teacher, with_rule, without, [*good, *bad])
    good.sort(key=lambda reply: -gains[reply])
    bad.sort(key=lambda reply: gains[reply])
    matched = _length_matched(good, bad)[:PAIRS_PER_SCENARIO]
    return [_Pair(message, followed, missed, gains[followed] - gains[missed]) for followed, missed in matched]


async def _drawn(teacher: Sampler, asked: Conversation) -> list[str]:
    """Distinct replies that ended by themselves."""
    samples = await teacher.sample(asked, PARAMS, range(DRAWS))
    texts = (sample.text.strip() for sample in samples if sample.finish_reason == "stop")
    return [text for text in dict.fromkeys(texts) if text]


async def _gains(
    teacher: Sampler, with_rule: Conversation, without: Conversation, replies: Sequence[str]
) -> dict[str, float]:
    """By how much the rule raises each reply's log-likelihood; 0 for all where the teacher gives none."""
    if not replies or not isinstance(teacher, Scorer):
        return dict.fromkeys(replies, 0.0)
    scored = await asyncio.gather(*(teacher.score(asked, replies) for asked in (with_rule, without)))
    return {reply: told.total - untold.total for reply, told, untold in zip(replies, *scored, strict=True)}


def _length_matched(good: Sequence[str], bad: Sequence[str]) -> list[tuple[str, str]]:
    """Each good reply, in order, with the bad one left whose length is nearest, if that is near enough."""
    pairs, left = [], {reply: len(words(reply)) for reply in bad}
    for reply in good:
        length = len(words(reply))
        match = min(left, key=lambda other: abs(left[other] - length), default=None)
        if match is not None and are_length_matched(length, left[match]):
            del left[match]
            pairs.append((reply, match))
    return pairs


def are_length_matched(one: int, other: int) -> bool:
    """Whether two replies' words differ by no more than a quarter of the shorter."""
    return 0 < max(one, other) <= LONGEST_RATIO * min(one, other)
