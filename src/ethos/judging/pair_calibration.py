"""Whether a pairwise judge names the better of two replies, where it is known which one that is.

Pairs are made of the labelled replies that a rubric judge is calibrated on: a good and a bad one to the same message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from ethos.judging.labelled import CalibrationReply, reaching_judge
from ethos.judging.pairwise import PairwiseJudge, Preference
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause
from ethos.statistics.proportions import wilson_interval

FEWEST_DECIDED = 12  # pairs, of which a judge has to name the same reply in both orders
PASSING_SHARE, PASSING_LOWER_BOUND = 0.75, 0.5  # of those, the pairs in which it names the good one


@dataclass(frozen=True, slots=True)
class PairCalibration:
    """How well one judge tells the better of two replies under one clause."""

    clause_id: str
    judge: str
    question: str | None
    pairs: int
    decided: int  # both orders named the same reply
    right: int  # and it was the good one
    leaning: (
        float | None
    )  # towards whatever stands first: the mean over all pairs; 0.5 for a judge that always names it
    longer: int  # of the decided, those in which the longer reply was named
    good_is_longer: int  # and those in which that would have been right
    passed: bool
    reason: str  # why it did not pass; "" if it did

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `PairCalibration(**d)` is the inverse."""
        return asdict(self)


async def calibrate_pairs(
    judge: PairwiseJudge, clause: Clause, question: str | None, replies: Sequence[CalibrationReply]
) -> PairCalibration:
    """Asks about every pair in both orders, by this question.

    Passes if at least 12 pairs are decided, three in four of them rightly, with the lower bound of the 95% interval
    (Wilson) above a half. Never raises for a poor judge: `reason` says what is wrong.
    """
    asked = replace(clause, ask=question)
    pairs = labelled_pairs(clause, replies)
    found = await asyncio.gather(
        *(judge.prefer(asked, Conversation.user(good.scenario), good.reply, bad.reply) for good, bad in pairs)
    )
    decided = [(pair, said) for pair, said in zip(pairs, found, strict=True) if not said.abstained]
    right = sum(_names_first(said) for _, said in decided)
    leanings = [said.leaning for said in found if said.leaning is not None]
    good_is_longer = [len(good.reply) > len(bad.reply) for (good, bad), _ in decided]
    reason = _why_not(len(pairs), len(decided), right)
    return PairCalibration(
        clause_id=clause.id,
        judge=judge.name,
        question=question,
        pairs=len(pairs),
        decided=len(decided),
        right=right,
        leaning=sum(leanings) / len(leanings) if leanings else None,
        longer=sum(_names_first(said) == long for (_, said), long in zip(decided, good_is_longer, strict=True)),
        good_is_longer=sum(good_is_longer),
        passed=not reason,
        reason=reason,
    )


def labelled_pairs(
    clause: Clause, replies: Sequence[CalibrationReply]
) -> list[tuple[CalibrationReply, CalibrationReply]]:
    """Good and bad replies to the same message, side by side in the order in which they are given."""
    own = sorted(reaching_judge(clause, replies), key=lambda reply: reply.scenario)
    pairs = []
    for _, to_one in groupby(own, lambda reply: reply.scenario):
        given = list(to_one)
        pairs += list(zip((r for r in given if r.good), (r for r in given if not r.good), strict=False))
    return pairs


def _names_first(said: Preference) -> bool:
    return said.probability is not None and said.probability > 0.5


def _why_not(pairs: int, decided: int, right: int) -> str:
    if decided < FEWEST_DECIDED:
        return (
            f"the judge names the same reply in both orders in {decided} of {pairs} pairs, and {FEWEST_DECIDED} such "
            "are needed"
        )
    low, _ = wilson_interval(right, decided)
    if right < PASSING_SHARE * decided or low <= PASSING_LOWER_BOUND:
        return (
            f"the judge names the better reply in {right} of {decided} pairs (lower bound {low:.2f}); three in four "
            f"with the lower bound above {PASSING_LOWER_BOUND} are needed"
        )
    return ""
