"""Students and specs for tasting: students whose replies are plain functions of the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ethos.judging.calibration import Calibration
from ethos.judging.types import Verdict
from ethos.models.types import PromptTooLong, Sample, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Family, Scenario
from ethos.spec.types import CheckDeclaration, Clause, Spec


@dataclass
class Scripted:
    """Answers by a function of the conversation; takes no prompt longer than its context, as the engine does."""

    answer: Callable[[Conversation], str]
    nats_per_token: float = 2.0
    context_characters: int = 10_000
    batches: list[int] = field(default_factory=list)

    async def sample_batch(
        self,
        prompts: Sequence[Conversation],
        params: SamplingParams,
        draws: Sequence[int] = (0,),
        advance: Callable[[], None] = lambda: None,
    ) -> list[list[Sample]]:
        fitting = [prompt for prompt in prompts if len(prompt.canonical()) <= self.context_characters]
        for _ in fitting:
            advance()
        if len(fitting) < len(prompts):
            raise PromptTooLong("scripted: a prompt doesn't fit its context; shorten it")
        self.batches.append(len(prompts))
        return [[self._sample(self.answer(p), params, draw) for draw in draws] for p in prompts]

    @staticmethod
    def _sample(reply: str, params: SamplingParams, draw: int) -> Sample:
        """A word is a token."""
        words = len(reply.split())
        return Sample(reply, "length" if words > params.max_tokens else "stop", Usage(1, words), draw)

    async def score_text(self, text: str) -> TokenLogprobs:
        tokens = len(text.split())
        return TokenLogprobs(tuple(range(tokens)), (-self.nats_per_token,) * tokens)


@dataclass
class KindJudge:
    """Odds of 0.9 for a reply that says `kindly`, 0.1 for others; unscored if it says nothing that can be judged."""

    name: str = "kind"

    async def judge(self, clause: Clause, prompt: Conversation, reply: str) -> Verdict:
        odds = None if "unjudgeable" in reply else 0.9 if "kindly" in reply else 0.1
        return Verdict(odds, "says kindly" if odds == 0.9 else "doesn't", self.name, clause.id)


def clause(clause_id: str, *checks: tuple[str, Any], **fields: Any) -> Clause:
    defaults: dict[str, Any] = {
        "heading": (), "text": f"The statement of {clause_id}.", "reason": "", "tier": "should", "over": (),
        "ask": None, "good": (), "bad": (), "contexts": (), "applies": "sometimes", "when": "",
        "line": 1, "digest": "0",
    }  # fmt: skip
    declared = tuple(CheckDeclaration(name, argument, 1) for name, argument in checks)
    return Clause(id=clause_id, checks=declared, **{**defaults, **fields})


def spec(*clauses: Clause, language: str = "en") -> Spec:
    text = "# Test\n\n" + "\n\n".join(c.text for c in clauses)
    return Spec("Test", Path("spec.md"), text, "", language, clauses, "0")


def scenario(clause_id: str, text: str, *, contrast: bool = False) -> Scenario:
    return Scenario(Family(clause_id, f"topic of {text}", "chat", "taste", contrast), Conversation.user(text))


def calibration(clause_id: str, cut: float = 0.5) -> Calibration:
    return Calibration(clause_id, "kind", "Is it kind?", 1.0, 0.8, 1.0, cut, True, 16, 16, "")


@pytest.fixture
def make() -> Any:
    """Everything above, for tests that can't import a conftest."""

    class Make:
        scripted = Scripted
        judge = KindJudge
        clause = staticmethod(clause)
        spec = staticmethod(spec)
        scenario = staticmethod(scenario)
        calibration = staticmethod(calibration)

    return Make
