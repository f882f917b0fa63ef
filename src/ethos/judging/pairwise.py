"""The pairwise judge: which of two replies follows a clause better, asked in both orders.

Judges lean towards the reply that stands first, or last, the more the less the two differ (Shi et al. 2024,
arXiv:2406.07791), so one order alone says little. What a judge leans by anyway is known from its calibration and taken
off; where the two orders name different replies even so, it abstains.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from ethos.judging.rubric import JudgeModel, odds_of_yes
from ethos.judging.wording import Wording, conversation_text
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause

_SUREST = 0.01  # odds nearer to 0 or 1 say no more: five sampled answers alike, or one that isn't among the likeliest


@dataclass(frozen=True, slots=True)
class Preference:
    """What a judge says of two replies."""

    probability: float | None  # that the first is the better one: both orders together; None: no answer
    leaning: float | None  # towards whatever stands first, in log-odds
    abstained: bool  # nothing follows: there was no answer, or the two orders name different replies
    evidence: str
    judge: str
    clause_id: str


@dataclass(frozen=True, slots=True)
class PairwiseJudge:
    """A model that compares by one question a clause, its `ask`; `name` goes into every preference.

    `wording` has the fields `first` and `second`: what the two replies are called. `leaning` is taken off the log-odds
    of what stands first.
    """

    model: JudgeModel
    name: str
    wording: Wording
    leaning: float = 0.0

    async def prefer(self, clause: Clause, prompt: Conversation, a: str, b: str) -> Preference:
        """How likely `a` follows the clause better than `b`."""
        if clause.ask is None:
            return self._unsure(clause, "the clause has no question for the judge")
        first, second = await asyncio.gather(
            self._odds_of_first(clause.ask, prompt, a, b), self._odds_of_first(clause.ask, prompt, b, a)
        )
        if first is None or second is None:
            return self._unsure(clause, f"no answer: {clause.ask}")
        one, other = _log_odds(first) - self.leaning, self.leaning - _log_odds(second)  # that `a` is the better one
        evidence = f"the first at {_share(one):.3f}, and at {_share(other):.3f} when it stood second: {clause.ask}"
        leaning = (one - other) / 2 + self.leaning
        return Preference(_share((one + other) / 2), leaning, one * other <= 0, evidence, self.name, clause.id)

    def _unsure(self, clause: Clause, why: str) -> Preference:
        return Preference(None, None, True, why, self.name, clause.id)

    async def _odds_of_first(self, question: str, prompt: Conversation, first: str, second: str) -> float | None:
        asked = self.wording.fill(
            trusted={"question": question},
            quoted={"message": conversation_text(prompt), "first_reply": first, "second_reply": second},
        )
        odds, _ = await odds_of_yes(self.model, asked, self.wording.fields["first"], self.wording.fields["second"])
        return odds


def _log_odds(odds: float) -> float:
    certain = min(max(odds, _SUREST), 1 - _SUREST)
    return math.log(certain / (1 - certain))


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
