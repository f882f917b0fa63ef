"""Adherence of a reply to a clause: one pure function, and the assessor that gathers its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ethos.judging.cases import BINDS, odds_of_case
from ethos.judging.checks import CheckResult, run_checks
from ethos.judging.hollow import hollow_reason
from ethos.judging.rubric import JudgeModel
from ethos.judging.types import Judge, Verdict
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause, Spec

if TYPE_CHECKING:
    from ethos.judging.calibration import Calibration  # with scipy, which a dry run does without


def adherence(checks_passed: bool, hollow: bool, judged: bool, odds: float | None, cut: float | None) -> float | None:
    """How well a reply adheres to a clause: 1, 0, or None for unscored.

    0 if a check fails or the reply is hollow; else 1 for a checked clause; for a judged one 1 if the judge's
    odds reach the cut that calibration found, 0 if not, and None without odds. None for every reply to a judged clause
    without a cut: zeros for the worst of them, and nothing for the rest, would be no rate.
    """
    if judged and cut is None:
        return None
    if not checks_passed or hollow:
        return 0.0
    if not judged:
        return 1.0
    return None if odds is None or cut is None else float(odds >= cut)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found out about one reply under one clause; what a failure made needless is missing."""

    clause_id: str
    adherence: float | None
    checks: tuple[CheckResult, ...]
    hollow_reason: str | None
    odds: float | None
    verdicts: tuple[Verdict, ...]  # of checks and judges alike, as they go into a row's lineage
    vetoed_by: tuple[str, ...] = ()  # `must` clauses that the reply breaks

    @property
    def accepted(self) -> bool:
        """Whether the reply may become a row."""
        return self.rejection is None

    @property
    def rejection(self) -> str | None:
        """Why it may not, in one word or two that can be counted."""
        failed = next((check.name for check in self.checks if not check.passed), None)
        if failed is not None:
            return f"check {failed}"
        if self.hollow_reason is not None:
            return "hollow"
        if self.adherence is None:
            return "unscored"
        if self.adherence == 0:
            return "judge"
        return f"breaks {self.vetoed_by[0]}" if self.vetoed_by else None


@dataclass(frozen=True, slots=True)
class Assessor:
    """Assesses replies against a spec, with one judge and what calibration said of it.

    Only a calibration that passed lets the judge speak on a clause: without one, a judged clause stays
    unscored. `case_reader` says whether a message calls on a `must` that applies sometimes; without one, none does.
    """

    spec: Spec
    judge: Judge | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)  # by clause id
    case_reader: JudgeModel | None = None

    async def assess(self, clause: Clause, prompt: Conversation, reply: str) -> Assessment:
        """Checks, then hollowness, then the judge: each only if the reply has passed what is cheaper."""
        checks = tuple(run_checks(clause, prompt, reply))
        verdicts = [Verdict(float(c.passed), c.evidence, f"check {c.name}", clause.id) for c in checks]
        passed = all(check.passed for check in checks)
        hollow = hollow_reason(clause, prompt, reply) if passed else None
        if hollow is not None:
            verdicts.append(Verdict(0.0, hollow, "hollow", clause.id))
        odds = None
        calibration = self._passed_calibration(clause)
        if passed and hollow is None and clause.judged and self.judge is not None and calibration is not None:
            verdict = await self.judge.judge(replace(clause, ask=calibration.question), prompt, reply)
            verdicts.append(verdict)
            odds = verdict.score
        cut = None if calibration is None else calibration.cut
        value = adherence(passed, hollow is not None, clause.judged, odds, cut)
        return Assessment(clause.id, value, checks, hollow, odds, tuple(verdicts))

    async def assess_row(self, clause: Clause, prompt: Conversation, reply: str) -> Assessment:
        """As `assess`, and whether the reply breaks another clause that binds it.

        Those are the `must` clauses that apply to the prompt, except where the row's own clause overrides them. One
        that is unscored vetoes nothing, and none is asked about a reply that its own clause has already
        turned down.
        """
        own = await self.assess(clause, prompt, reply)
        if not own.accepted:
            return own
        others = await self._assess_musts(prompt, reply, without=(clause.id, *clause.over))
        return replace(
            own,
            verdicts=own.verdicts + tuple(verdict for other in others for verdict in other.verdicts),
            vetoed_by=tuple(other.clause_id for other in others if _breaks(other)),
        )

    async def broken_musts(self, prompt: Conversation, reply: str) -> tuple[str, ...]:
        """Ids of the `must` clauses that apply to the prompt and are broken by the reply; it belongs to no clause."""
        return tuple(other.clause_id for other in await self._assess_musts(prompt, reply) if _breaks(other))

    async def applies_clause(
        self, clause: Clause, prompt: Conversation, reply: str
    ) -> tuple[bool | None, tuple[Verdict, ...]]:
        """Whether a reply does what the clause asks, to a message that doesn't call for it; None if unscored.

        And the verdicts that say so.

        A checked clause is applied if all its checks pass, even where the reply says nothing else; one that can't be
        over-applied never is.
        """
        if not clause.can_be_over_applied:
            return False, ()
        found = await self.assess(clause, prompt, reply)
        if not clause.judged:
            return all(check.passed for check in found.checks), found.verdicts
        return (None if found.adherence is None else found.adherence == 1), found.verdicts

    async def _assess_musts(self, prompt: Conversation, reply: str, without: Sequence[str] = ()) -> list[Assessment]:
        """Of the `must` clauses that bind the reply, except that one which it keeps and may not apply is left out.

        Whether a clause applies is asked after its checks, which are free, and before its judge, who is not.
        """
        musts = [clause for clause in self.spec.clauses if clause.tier == "must" and clause.id not in without]

        async def binding(must: Clause) -> Assessment | None:
            if must.applies == "always":
                return await self.assess(must, prompt, reply)
            kept = all(check.passed for check in run_checks(must, prompt, reply))
            if (kept and not must.judged) or not await self._applies(must, prompt):
                return None
            found = await self.assess(must, prompt, reply)
            return found if _breaks(found) else None

        found = await asyncio.gather(*map(binding, musts))
        return [assessment for assessment in found if assessment is not None]

    async def _applies(self, must: Clause, prompt: Conversation) -> bool:
        if self.case_reader is None:
            return False
        return await odds_of_case(self.case_reader, must, prompt.last_user) >= BINDS

    def _passed_calibration(self, clause: Clause) -> Calibration | None:
        calibration = self.calibrations.get(clause.id)
        return calibration if calibration is not None and calibration.passed else None


def _breaks(assessment: Assessment) -> bool:
    """Whether the reply does what the clause forbids; saying nothing counts under its own clause."""
    fails_check = not all(check.passed for check in assessment.checks)
    return fails_check or (assessment.adherence == 0 and assessment.hollow_reason is None)
