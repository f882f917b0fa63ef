"""Calibration: whether a judge tells good replies to a clause from bad ones, on replies whose label is known.

Scenarios are dealt to two halves. The first chooses the question, where there are several, and the cut; the
second, which chose nothing, gives the AUC with its interval. A judge that fails leaves the clause *not
measurable with this judge*: nothing downstream may use its verdicts there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ethos.judging.labelled import CalibrationReply, reaching_judge, shortage
from ethos.judging.rubric import judge_many
from ethos.judging.types import Judge
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause
from ethos.statistics.auc import auc_with_interval, best_cut

PASSING_AUC = 0.75
PASSING_LOWER_BOUND = 0.5
MOST_UNSCORED = 0.25
LEAST_SPREAD = 2e-4  # of odds; below it the judge says one thing about everything, and no cut could part them


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well one judge tells good from bad under one clause; a number that was never reached is None."""

    clause_id: str
    judge: str
    question: str | None
    auc: float | None
    low: float | None  # bounds of the AUC's 95% interval
    high: float | None
    cut: float | None  # odds at or above it pass
    passed: bool
    n_good: int  # scored replies of the half that measured
    n_bad: int
    reason: str  # why it did not pass; "" if it did

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `Calibration(**d)` is the inverse."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Odds of one half's replies under one question; None where unscored."""

    question: str
    labelled: tuple[tuple[float | None, bool], ...]

    def of(self, good: bool) -> list[float]:
        return [odds for odds, label in self.labelled if label is good and odds is not None]

    @property
    def scored(self) -> list[float]:
        return self.of(True) + self.of(False)

    def fault(self) -> str:
        """Why nothing can be concluded from these odds; "" if something can."""
        unscored = len(self.labelled) - len(self.scored)
        if unscored > MOST_UNSCORED * len(self.labelled):
            return f"the judge left {unscored} of {len(self.labelled)} replies unscored"
        if not self.of(True) or not self.of(False):
            return "the judge scored no good reply, or no bad one"
        if max(self.scored) - min(self.scored) < LEAST_SPREAD:
            answer = "yes" if self.scored[0] >= 0.5 else "no"
            return f"the judge gives every reply the same odds ({self.scored[0]:.2f}, {answer})"
        return ""

    def auc(self) -> float:
        return auc_with_interval(self.of(True), self.of(False)).estimate


async def calibrate(
    judge: Judge, clause: Clause, questions: Sequence[str], replies: Sequence[CalibrationReply]
) -> Calibration:
    """Chooses question and cut on one half of the scenarios, and measures the AUC on the other.

    A clause's own `ask` is the only question, whatever `questions` holds. Replies that fail the clause's checks are
    left out, for of such the judge is never asked. Passes at an AUC of 0.75 or more with the lower bound of its
    95% interval above 0.5. Never raises for a poor judge: `reason` says what is wrong.
    """
    candidates = (clause.ask,) if clause.ask is not None else tuple(questions)
    own = reaching_judge(clause, replies)
    if fault := _too_little(candidates, own):
        return _failed(clause, judge, fault)
    choosing, measuring = halves(own)

    drafts = await _score(judge, clause, candidates, choosing)
    usable = [scores for scores in drafts if not scores.fault()]
    if not usable:
        return _failed(clause, judge, drafts[0].fault(), drafts[0].question)
    chosen = max(usable, key=_Scores.auc)  # the first of equals
    cut = best_cut(chosen.of(True), chosen.of(False))

    [measured] = await _score(judge, clause, [chosen.question], measuring)
    if fault := measured.fault():
        return _failed(clause, judge, fault, chosen.question)
    auc = auc_with_interval(measured.of(True), measured.of(False))
    passed = auc.estimate >= PASSING_AUC and auc.low > PASSING_LOWER_BOUND
    reason = "" if passed else _why_not(measured, auc.estimate, auc.low)
    return Calibration(
        clause.id,
        judge.name,
        chosen.question,
        auc.estimate,
        auc.low,
        auc.high,
        cut,
        passed,
        auc.n_good,
        auc.n_bad,
        reason,
    )


def halves(replies: Sequence[CalibrationReply]) -> tuple[list[CalibrationReply], list[CalibrationReply]]:
    """The replies of every other scenario, and the rest: no scenario is in both, so nothing leaks."""
    order = list(dict.fromkeys(reply.scenario for reply in replies))
    first = set(order[::2])
    return [r for r in replies if r.scenario in first], [r for r in replies if r.scenario not in first]


async def _score(
    judge: Judge, clause: Clause, questions: Sequence[str], replies: Sequence[CalibrationReply]
) -> list[_Scores]:
    """By question. All questions about a reply stand together, so that an engine reads the reply once for them."""
    asked = [(question, reply) for reply in replies for question in questions]
    verdicts = await judge_many(
        judge, [(replace(clause, ask=q), Conversation.user(reply.scenario), reply.reply) for q, reply in asked]
    )
    odds: dict[str, list[tuple[float | None, bool]]] = {question: [] for question in questions}
    for (question, reply), verdict in zip(asked, verdicts, strict=True):
        odds[question].append((verdict.score, reply.good))
    return [_Scores(question, tuple(labelled)) for question, labelled in odds.items()]


def _too_little(questions: Sequence[str], replies: Sequence[CalibrationReply]) -> str:
    if not questions:
        return "no question for the judge: the clause has no `ask:`, and the teacher drafted none of use"
    return shortage(replies)


def _why_not(measured: _Scores, auc: float, low: float) -> str:
    told = f"the judge tells good from bad with an AUC of {auc:.2f} (lower bound {low:.2f})"
    wanted = f"{PASSING_AUC} with the lower bound above {PASSING_LOWER_BOUND} is needed"
    answers = {odds >= 0.5 for odds in measured.scored}
    if len(answers) == 1:
        return f"{told}, saying {'yes' if answers.pop() else 'no'} to every reply; {wanted}"
    return f"{told}; {wanted}"


def _failed(clause: Clause, judge: Judge, reason: str, question: str | None = None) -> Calibration:
    return Calibration(clause.id, judge.name, question, None, None, None, None, False, 0, 0, reason)
