"""Clauses, specs and models for judging: models that are plain functions of the text they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation
from ethos.spec.types import CheckDeclaration, Clause, Spec

REPLY = re.compile(r"<(reply|answer|reponse|texte)>\n(.*?)\n</\1>", re.DOTALL)
BRACKETED = re.compile(r"\[reply\]\n(.*)\n\[end of reply\]", re.DOTALL)


def clause(clause_id: str = "c", text: str = "Says why.", *checks: dict[str, Any], **fields: Any) -> Clause:
    """A clause with the defaults of a spec that declares nothing."""
    declared = tuple(CheckDeclaration(*item, line=1) for check in checks for item in check.items())
    defaults: dict[str, Any] = {
        "heading": (), "reason": "", "tier": "should", "over": (), "ask": None, "good": (), "bad": (),
        "contexts": (), "applies": "sometimes", "when": "", "line": 1, "digest": "0",
    }  # fmt: skip
    return Clause(id=clause_id, text=text, checks=declared, **{**defaults, **fields})


def spec(*clauses: Clause, language: str = "en") -> Spec:
    """A spec of these clauses."""
    return Spec("test", Path("spec.md"), "\n\n".join(c.text for c in clauses), "", language, clauses, "0")


@dataclass
class TextScorer:
    """A Scorer whose log-odds of the first candidate are a function of the quoted reply."""

    log_odds: Callable[[str], float]
    name: str = "text-scorer"
    fingerprint: str = "text-scorer"
    prompts: list[Conversation] = field(default_factory=list)

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """Puts half the log-odds on each side."""
        self.prompts.append(prompt)
        quoted = REPLY.search(prompt.last_user) or BRACKETED.search(prompt.last_user)
        assert quoted is not None
        half = self.log_odds(quoted.groups()[-1]) / 2
        return [TokenLogprobs((0,), (half,)), TokenLogprobs((1,), (-half,))]


@dataclass
class Scripted:
    """A Sampler that answers by a function of the prompt and the draw."""

    answer: Callable[[Conversation, int], str]
    name: str = "scripted"
    fingerprint: str = "scripted"
    calls: list[SamplingParams] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """One sample a draw."""
        self.calls.append(params)
        return [Sample(self.answer(prompt, draw), "stop", Usage(1, 1), draw) for draw in draws]


def says_because(reply: str) -> float:
    """Log-odds of a perfect judge of "gives a reason"."""
    return 2.0 + len(reply) / 1000 if "because" in reply else -2.0 - len(reply) / 1000


@pytest.fixture
def make() -> Any:
    """Everything above, for tests that can't import a conftest."""

    class Make:
        clause = staticmethod(clause)
        spec = staticmethod(spec)
        scorer = TextScorer
        sampler = Scripted
        says_because = staticmethod(says_because)

    return Make
