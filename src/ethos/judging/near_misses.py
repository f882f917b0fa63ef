"""Calibration replies that the teacher writes: good ones, and near-misses that break one clause.

Equal lengths keep a judge from passing its calibration by counting words. What came out equal, or more than
twice as long as its counterpart, is dropped; so is a good reply that fails the clause's own checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ethos.judging.checks import run_checks
from ethos.judging.labelled import SCENARIOS_NEEDED, CalibrationReply
from ethos.judging.wording import conversation_text, load_wording
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import words
from ethos.spec.types import Clause, Frame, Spec

PAIRS_PER_SCENARIO = 4
ROUNDS = 3  # of four draws, until a scenario has its pairs
LONGEST_RATIO = 2.0


async def generate_calibration(
    clause: Clause,
    spec: Spec,
    frame: Frame,
    teacher: Sampler,
    prompts: Sequence[Conversation],
    max_tokens: int = 160,
) -> list[CalibrationReply]:
    """Four good replies and four near-misses to each of the first four prompts, or as many as could be made.

    Good replies are drawn with `frame`; each near-miss rewrites a good one. Fewer than asked for is no error
    here: `calibrate` says that the clause can't be measured, and why.
    """
    found = await asyncio.gather(
        *(_replies_to(clause, spec, frame, teacher, prompt, max_tokens) for prompt in prompts[:SCENARIOS_NEEDED])
    )
    return [reply for replies in found for reply in replies]


async def _replies_to(
    clause: Clause, spec: Spec, frame: Frame, teacher: Sampler, prompt: Conversation, max_tokens: int
) -> list[CalibrationReply]:
    pairs: dict[str, str] = {}
    for first_draw in range(0, ROUNDS * PAIRS_PER_SCENARIO, PAIRS_PER_SCENARIO):
        draws = range(first_draw, first_draw + PAIRS_PER_SCENARIO)
        for good, bad in await _draw_pairs(clause, spec, frame, teacher, prompt, max_tokens, draws):
            if bad not in pairs.values():
                pairs.setdefault(good, bad)
        if len(pairs) >= PAIRS_PER_SCENARIO:
            break
    scenario = conversation_text(prompt)
    kept = list(pairs.items())[:PAIRS_PER_SCENARIO]
    return [
        CalibrationReply(clause.id, scenario, reply, good=is_good)
        for good, bad in kept
        for reply, is_good in ((good, True), (bad, False))
    ]


async def _draw_pairs(
    clause: Clause,
    spec: Spec,
    frame: Frame,
    teacher: Sampler,
    prompt: Conversation,
    max_tokens: int,
    draws: range,
) -> list[tuple[str, str]]:
    params = SamplingParams(max_tokens=max_tokens, temperature=0.9)
    message = conversation_text(prompt)
    good_prompt = load_wording("good_reply", spec.language).fill(
        trusted={"frame": frame.text, "clause": clause.text}, quoted={"message": message}
    )
    drawn = [sample.text.strip() for sample in await teacher.sample(good_prompt, params, draws=draws)]
    good = [reply for reply in dict.fromkeys(drawn) if all(r.passed for r in run_checks(clause, prompt, reply))]
    near_miss = load_wording("near_miss", spec.language)
    rewritten = await asyncio.gather(
        *(
            teacher.sample(
                near_miss.fill(
                    trusted={"clause": clause.text, "words": str(len(words(reply)))},
                    quoted={"message": message, "reply": reply},
                ),
                params,
            )
            for reply in good
        )
    )
    bad = [samples[0].text.strip() for samples in rewritten]
    return [pair for pair in zip(good, bad, strict=True) if are_length_matched(*pair)]


def are_length_matched(good: str, bad: str) -> bool:
    """Whether two replies differ, and neither has more than twice the other's words."""
    lengths = len(words(good)), len(words(bad))
    return good != bad and 0 < max(lengths) <= LONGEST_RATIO * min(lengths)
