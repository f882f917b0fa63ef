"""What judging gives: verdicts, never guesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score in [0, 1], or None for *unscored*; with its evidence and who gave it."""

    score: float | None
    evidence: str
    judge: str
    clause_id: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "score": self.score,
            "evidence": self.evidence,
            "judge": self.judge,
            "clause_id": self.clause_id,
        }


class Judge(Protocol):
    """Whatever turns a reply into a verdict."""

    @property
    def name(self) -> str:
        """What goes into its verdicts."""
        ...

    async def judge(self, clause: Clause, prompt: Conversation, reply: str) -> Verdict:
        """The verdict on one reply under one clause."""
        ...
