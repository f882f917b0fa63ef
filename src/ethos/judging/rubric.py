"""The rubric judge: asks a model one narrow yes/no question about a reply and reads the odds of its answer.

Log-probabilities where the model gives them (an in-process engine, or an endpoint that returns those of the
first token), otherwise, or where they hold neither answer, as with a model that thinks first, the share of yes among
sampled answers. The question comes last: asked before the reply it is half forgotten by small models. Left out on
purpose: the cut, which calibration finds for each clause.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ethos.judging.types import Judge, Verdict
from ethos.judging.wording import Wording, conversation_text
from ethos.models.types import RequestRefused, Sampler, SamplingParams, TokenLogprobs
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause

SAMPLED_ANSWERS = 5
ANSWER_TOKENS, THOUGHT_TOKENS = 8, 1024  # an answer is one word; a model that thinks first needs room for it


@runtime_checkable
class _Teacherforced(Protocol):
    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]: ...


@runtime_checkable
class _FirstToken(Sampler, Protocol):
    async def first_token_logprobs(self, prompt: Conversation, candidates: Sequence[str]) -> list[float] | None: ...


JudgeModel = _Teacherforced | _FirstToken | Sampler


@dataclass(frozen=True, slots=True)
class RubricJudge:
    """A model that judges by one question a clause, its `ask`; `name` goes into every verdict.

    `model` is a Scorer, has `first_token_logprobs`, or is a Sampler; the first of these that it is gets used.
    """

    model: JudgeModel
    name: str
    wording: Wording

    async def judge(self, clause: Clause, prompt: Conversation, reply: str) -> Verdict:
        """The odds of yes in [0, 1], before any cut; unscored without a question, or without an answer."""
        if clause.ask is None:
            return Verdict(None, "the clause has no question for the judge", self.name, clause.id)
        filled = self.wording.fill(
            trusted={"question": clause.ask}, quoted={"message": conversation_text(prompt), "reply": reply}
        )
        odds, how = await odds_of_yes(self.model, filled, self.wording.fields["yes"], self.wording.fields["no"])
        if odds is None:
            return Verdict(None, f"{how}: {clause.ask}", self.name, clause.id)
        return Verdict(odds, f"{self.wording.fields['yes']} at {odds:.3f} ({how}): {clause.ask}", self.name, clause.id)


async def odds_of_yes(model: JudgeModel, prompt: Conversation, yes: str, no: str) -> tuple[float | None, str]:
    """The odds in [0, 1] that a model answers `yes` rather than `no`, and how they were had; None without an answer."""
    if isinstance(model, _Teacherforced):
        scored_yes, scored_no = await model.score(prompt, (yes, no))
        return _odds(scored_yes.total, scored_no.total), "log-probabilities"
    if isinstance(model, _FirstToken):
        try:
            logprobs = await model.first_token_logprobs(prompt, (yes, no))
        except RequestRefused as refused:
            return None, str(refused)
        odds = None if logprobs is None else _odds(*logprobs)
        if odds is not None:
            return odds, "log-probabilities"
    for max_tokens in (ANSWER_TOKENS, THOUGHT_TOKENS):
        params = SamplingParams(max_tokens=max_tokens, temperature=1.0)
        samples = await model.sample(prompt, params, draws=range(SAMPLED_ANSWERS))
        answers = [answer for sample in samples if (answer := parse_answer(sample.text, yes, no)) is not None]
        if answers:
            return sum(answers) / len(answers), f"{len(answers)} of {len(samples)} sampled answers"
        if all(sample.finish_reason != "length" for sample in samples):
            break
    refusal = next((sample.refusal for sample in samples if sample.refusal), "")
    return None, refusal or f"none of {len(samples)} sampled answers was {yes} or {no}"


def parse_answer(text: str, yes: str, no: str) -> bool | None:
    """Whether an answer begins with the word `yes` or the word `no`, in any case; None for anything else."""
    for word, meaning in ((yes, True), (no, False)):
        if re.match(rf"\W*{re.escape(word)}(?![a-zà-ÿ])", text, re.IGNORECASE):
            return meaning
    return None


async def judge_many(judge: Judge, items: Sequence[tuple[Clause, Conversation, str]]) -> list[Verdict]:
    """A verdict for each clause, prompt and reply, in order; asked at once, so that an engine can batch."""
    return list(await asyncio.gather(*(judge.judge(*item) for item in items)))


def _odds(yes: float, no: float) -> float | None:
    """P(yes) between the two answers; None where the source gave neither a probability."""
    difference = yes - no
    if math.isnan(difference):
        return None
    return 1 / (1 + math.exp(-difference)) if difference > -700 else 0.0
