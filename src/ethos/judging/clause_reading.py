"""How the teacher reads a clause that says little: when it applies, and by which questions a reply is judged.

A small model that is handed a paragraph of prose wherever a case or a question is meant repeats the paragraph. Asked
once for a case and a question, in the form of examples, it gives both; what the spec declares is never asked for. The
character's name is left out of what it reads, or the questions are about somebody of that name, not about the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ethos.judging.few_shot import load_few_shot
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.language import QUESTION_MARKS, sentences
from ethos.spec.types import Clause, Spec

QUESTIONS = 4
DRAWS = 8
READING_TOKENS = 100
_LONGEST_CASE_CHARACTERS, _LONGEST_QUESTION_CHARACTERS = 160, 240
_ASSISTANT = {"fr": "l'assistant", "zh": "助手"}  # "the assistant" elsewhere
_NAME_ENDS = re.compile(r"['’]s\b|[,:;.(–—|，：；。（]|\s-\s")
_TWO_LINES = re.compile(r"[^:：\n]{2,12}\s?[:：]\s*(\S[^\n]*)\n+[^:：\n]{2,12}\s?[:：]\s*(\S[^\n]*)")


@dataclass(frozen=True, slots=True)
class ClauseReading:
    """What the spec declares of a clause, and else what the teacher made of it; empty where that can't be used."""

    when: str
    questions: tuple[str, ...]  # candidates, of which calibration keeps one


def wants_case(clause: Clause) -> bool:
    """Whether the teacher has to say when the clause applies."""
    return not clause.when and clause.applies == "sometimes"


def wants_questions(clause: Clause) -> bool:
    """Whether the teacher has to say what the judge is asked."""
    return clause.judged and clause.ask is None


async def read_clause(clause: Clause, spec: Spec, teacher: Sampler) -> ClauseReading:
    """Reads one clause; a call is made only for what it doesn't declare and a run needs."""
    declared = () if clause.ask is None else (clause.ask,)
    if not wants_case(clause) and not wants_questions(clause):
        return ClauseReading(clause.when, declared)
    asked = load_few_shot("clause_reading", spec.language).fill({"rule": rule_of(clause, spec)})
    [likeliest] = await teacher.sample(asked, SamplingParams(READING_TOKENS, temperature=0.0))
    others = await teacher.sample(asked, SamplingParams(READING_TOKENS, temperature=0.8), range(DRAWS))
    found = [parsed for sample in (likeliest, *others) if (parsed := parse_reading(sample.text))]
    when = next((when for when, _ in found if when), "") if wants_case(clause) else clause.when
    questions = tuple(dict.fromkeys(question for _, question in found if question))[:QUESTIONS]
    return ClauseReading(when, questions if wants_questions(clause) else declared)


def rule_of(clause: Clause, spec: Spec) -> str:
    """What a clause asks for, without its reasons: up to the first sentence that names the character, else the first.

    "The assistant" stands for the name. The name is how the spec's title begins, if a third of its clauses call the
    character so.
    """
    name = _NAME_ENDS.split(spec.name, maxsplit=1)[0].strip()
    parts = list(sentences(clause.text)) or [clause.text]
    if not name or 3 * sum(name in other.text for other in spec.clauses) < len(spec.clauses):
        return parts[0]
    naming = next((position for position, part in enumerate(parts) if name in part), 0)
    edge = r"\b" if name.isascii() else ""
    assistant = _ASSISTANT.get(spec.language, "the assistant")
    rule = re.sub(rf"{edge}{re.escape(name)}{edge}", assistant, " ".join(parts[: naming + 1]))
    return rule[0].upper() + rule[1:]


def parse_reading(text: str) -> tuple[str, str] | None:
    """Case and question of an answer in two labelled lines, each "" if it can't be used; None without the lines."""
    match = _TWO_LINES.match(text.strip())
    if match is None:
        return None
    when, question = (part.strip().strip('*_"“” ') for part in match.groups())
    when = when.rstrip(".。") if len(when) <= _LONGEST_CASE_CHARACTERS else ""
    is_question = question.endswith(QUESTION_MARKS) and len(question) <= _LONGEST_QUESTION_CHARACTERS
    return when, question if is_question else ""
