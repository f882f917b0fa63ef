"""Questions for the judge where a clause has no `ask:`: the teacher drafts four, calibration keeps one."""

from __future__ import annotations

import re

from ethos.judging.wording import load_wording
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.types import Clause, Spec

DRAFTED_QUESTIONS = 4
_NUMBERED = re.compile(r"^\s*(?:\d+\s*[.):、．：]|[-*•])\s*(.+?)\s*$")
_LONGEST_QUESTION_CHARACTERS = 240


async def draft_questions(clause: Clause, spec: Spec, teacher: Sampler) -> tuple[str, ...]:
    """At most four narrow questions whose yes means that a reply follows the clause; its own `ask` if it has
    one.

    Empty if the teacher wrote none that can be used; calibration then says so.
    """
    if clause.ask is not None:
        return (clause.ask,)
    prompt = load_wording("questions", spec.language).fill(
        trusted={"clause": clause.text, "reason": clause.reason or "-", "count": str(DRAFTED_QUESTIONS)}
    )
    [sample] = await teacher.sample(prompt, SamplingParams(max_tokens=300, temperature=0.0))
    return parse_questions(sample.text)


def parse_questions(text: str) -> tuple[str, ...]:
    """The distinct questions among the numbered lines of a text, at most four; other lines are left out."""
    lines = (match.group(1).strip('*_"“” ') for line in text.splitlines() if (match := _NUMBERED.match(line)))
    questions = [line for line in lines if line.endswith(("?", "？")) and len(line) <= _LONGEST_QUESTION_CHARACTERS]
    return tuple(dict.fromkeys(questions))[:DRAFTED_QUESTIONS]
