"""A judge that is a function of its prompt: it answers each question that it knows by a rule about the reply.

It reads the prompt files of `judging/`, in any of their languages, and tells the odds of its answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ethos.judging.wording import load_wording
from ethos.models.types import Sample, SamplingParams, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation

WORDINGS = [load_wording(name, language) for name in ("rubric", "rubric_sealed") for language in ("en", "fr", "zh")]
WORDS = sorted({wording.fields[answer] for wording in WORDINGS for answer in ("yes", "no")})
"""For `EndpointServer`: whose log-probabilities this judge tells."""

ODDS = {True: 0.9, False: 0.1}  # of yes, by what the rule says
ODDS_WITHOUT_RULE = 0.6


@dataclass(frozen=True)
class Asked:
    """A question as it came."""

    wording: str
    language: str
    question: str | None  # None if there is no rule for it
    reply: str


@dataclass
class TemplateJudge:
    """A `Sampler` and `Scorer`. `rules`: question -> whether a reply is a yes; any other question has the same odds
    whatever the reply."""

    rules: Mapping[str, Callable[[str], bool]]
    name: str = "template-judge"
    fingerprint: str = "template-judge"
    asked: list[Asked] = field(default_factory=list)
    count_tokens: Callable[[Conversation], int] = lambda prompt: 1

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`: the likelier answer."""
        asked = self._read(prompt)
        fields = load_wording(asked.wording, asked.language).fields
        text = fields["yes"] if self._odds(asked) > 0.5 else fields["no"]
        return [Sample(text, "stop", Usage(self.count_tokens(prompt), 1), draw) for draw in draws]

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        """As `Scorer`, of single words; those that are neither of the two answers have nearly no probability."""
        asked = self._read(prompt)
        self.asked.append(asked)
        fields, odds = load_wording(asked.wording, asked.language).fields, self._odds(asked)
        logprobs = {fields["yes"]: math.log(odds), fields["no"]: math.log(1 - odds)}
        return [TokenLogprobs((0,), (logprobs.get(reply, -30.0),)) for reply in replies]

    def _odds(self, asked: Asked) -> float:
        return ODDS_WITHOUT_RULE if asked.question is None else ODDS[self.rules[asked.question](asked.reply)]

    def _read(self, prompt: Conversation) -> Asked:
        wording = next(w for w in WORDINGS if w.system == prompt.messages[0].content)
        before, after = wording.user.split("{reply}")
        opening, closing = before.rsplit("\n", 2)[-2], after.split("\n", 2)[1]
        reply = prompt.last_user.split(f"{opening}\n", 1)[1].split(f"\n{closing}", 1)[0]
        question = next((question for question in self.rules if question in prompt.last_user), None)
        return Asked(wording.name, wording.language, question, reply)
