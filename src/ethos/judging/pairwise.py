"""The pairwise judge: which of two replies follows a clause better, asked in both orders.

Judges lean towards the reply that stands first, or last, the more the less the two differ (Shi et al. 2024,
arXiv:2406.07791), so one order alone says little. Where the two orders name different replies, the judge abstains.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ethos.judging.rubric import JudgeModel, odds_of_yes
from ethos.judging.wording import Wording, conversation_text
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause


@dataclass(frozen=True, slots=True)
class Preference:
    """What a judge says of two replies."""

    probability: float | None  # that the first is the better one: the mean of both orders; None: no answer
    leaning: float | None  # towards whatever stands first: 0 for none, 0.5 for a judge that always names it
    evidence: str
    judge: str
    clause_id: str

    @property
    def abstained(self) -> bool:
        """Whether nothing follows: there was no answer, or the two orders name different replies."""
        if self.probability is None or self.leaning is None:
            return True
        return abs(self.leaning) >= abs(self.probability - 0.5)


@dataclass(frozen=True, slots=True)
class PairwiseJudge:
    """A model that compares by one question a clause, its `ask`; `name` goes into every preference.

    `wording` has the fields `first` and `second`: what the two replies are called.
    """

    model: JudgeModel
    name: str
    wording: Wording

    async def prefer(self, clause: Clause, prompt: Conversation, a: str, b: str) -> Preference:
        """How likely `a` follows the clause better than `b`."""
        if clause.ask is None:
            return Preference(None, None, "the clause has no question for the judge", self.name, clause.id)
        one, other = await asyncio.gather(
            self._odds_of_first(clause.ask, prompt, a, b), self._odds_of_first(clause.ask, prompt, b, a)
        )
        if one is None or other is None:
            return Preference(None, None, f"no answer: {clause.ask}", self.name, clause.id)
        probability, leaning = (one + 1 - other) / 2, (one + other - 1) / 2
        evidence = f"the first at {one:.3f}, and at {1 - other:.3f} when it stood second: {clause.ask}"
        return Preference(probability, leaning, evidence, self.name, clause.id)

    async def _odds_of_first(self, question: str, prompt: Conversation, first: str, second: str) -> float | None:
        asked = self.wording.fill(
            trusted={"question": question},
            quoted={"message": conversation_text(prompt), "first_reply": first, "second_reply": second},
        )
        odds, _ = await odds_of_yes(self.model, asked, self.wording.fields["first"], self.wording.fields["second"])
        return odds
