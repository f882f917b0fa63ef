"""A pairwise judge, and where it may speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ethos.judging.pairwise import PairwiseJudge, Preference
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause

if TYPE_CHECKING:
    from ethos.judging.pair_calibration import PairCalibration  # with scipy, which a dry run does without


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares replies under the clauses on which its judge passed its calibration."""

    judge: PairwiseJudge
    calibrations: Mapping[str, PairCalibration]  # by clause id

    async def compare(self, clause: Clause, prompt: Conversation, a: str, b: str) -> Preference | None:
        """Which of the two follows the clause better; None where the judge may not say so."""
        calibration = self.calibrations.get(clause.id)
        if calibration is None or not calibration.passed:
            return None
        judge = replace(self.judge, leaning=calibration.leaning)
        return await judge.prefer(replace(clause, ask=calibration.question), prompt, a, b)
