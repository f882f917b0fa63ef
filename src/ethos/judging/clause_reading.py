"""How the teacher reads a clause that says little: when it applies, and by which questions a reply is judged.

A small model that is handed a paragraph of prose wherever a case or a question is meant repeats the paragraph. Asked
for them in the form of examples, it gives both; what the spec declares is never asked for. It is told where the
character works, or its cases are about anything. The name is left out of what it reads, or its questions are about
somebody of that name, not about the reply. Of the many questions that it can think of calibration keeps one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ethos.judging.few_shot import bare, list_item, load_few_shot
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import QUESTION_MARKS, sentences
from ethos.spec.types import Clause, Spec

QUESTIONS = 8
READINGS = 4  # more, where the likeliest gives no case
LISTS, QUESTIONS_A_LIST = 3, 4
READING_TOKENS, LIST_TOKENS = 100, 110
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
    asked = reading_prompt(clause, spec)
    [likeliest] = await teacher.sample(asked, SamplingParams(READING_TOKENS, temperature=0.0))
    found = [parsed] if (parsed := parse_reading(likeliest.text)) else []
    if wants_case(clause) and not any(when for when, _ in found):
        others = await teacher.sample(asked, SamplingParams(READING_TOKENS, temperature=0.8), range(READINGS))
        found += [parsed for sample in others if (parsed := parse_reading(sample.text))]
    when = next((when for when, _ in found if when), "") if wants_case(clause) else clause.when
    if not wants_questions(clause):
        return ClauseReading(when, declared)
    lists = await teacher.sample(
        questions_prompt(clause, spec), SamplingParams(LIST_TOKENS, temperature=0.7), range(LISTS)
    )
    questions = [question for _, question in found[:1]] + [q for sample in lists for q in parse_questions(sample.text)]
    return ClauseReading(when, tuple(dict.fromkeys(filter(None, questions)))[:QUESTIONS])


def reading_prompt(clause: Clause, spec: Spec) -> Conversation:
    """Asks when the clause applies, and for a question."""
    given = {"setting": setting_of(spec), "rule": rule_of(clause, spec)}
    return load_few_shot("clause_reading", spec.language).fill(given)


def questions_prompt(clause: Clause, spec: Spec) -> Conversation:
    """Asks for a list of questions."""
    given = {"rule": rule_of(clause, spec), "count": str(QUESTIONS_A_LIST)}
    return load_few_shot("questions", spec.language).fill(given)


def setting_of(spec: Spec) -> str:
    """Where the character works, as far as one sentence tells: the first that names it, else the first of all."""
    name = character_name(spec)
    texts = (spec.preamble, *(clause.text for clause in spec.clauses))
    parts = (sentence for text in texts for sentence in sentences(text))
    return _without_name(next((part for part in parts if name in part), spec.name), name, spec.language)


def rule_of(clause: Clause, spec: Spec) -> str:
    """What a clause asks for, without its reasons: up to the first sentence that names the character, else the first.

    "The assistant" stands for the name.
    """
    parts = list(sentences(clause.text)) or [clause.text]
    name = character_name(spec)
    naming = next((position for position, part in enumerate(parts) if name and name in part), 0)
    return _without_name(" ".join(parts[: naming + 1]), name, spec.language)


def character_name(spec: Spec) -> str:
    """How the spec's title begins, if a third of its clauses call the character so; else ""."""
    name = _NAME_ENDS.split(spec.name, maxsplit=1)[0].strip()
    return name if name and 3 * sum(name in clause.text for clause in spec.clauses) >= len(spec.clauses) else ""


def _without_name(text: str, name: str, language: str) -> str:
    if not name:
        return text
    edge = r"\b" if name.isascii() else ""
    unnamed = re.sub(rf"{edge}{re.escape(name)}{edge}", _ASSISTANT.get(language, "the assistant"), text)
    return unnamed[0].upper() + unnamed[1:]


def parse_reading(text: str) -> tuple[str, str] | None:
    """Case and question of an answer in two labelled lines, each "" if it can't be used; None without the lines."""
    match = _TWO_LINES.match(text.strip())
    if match is None:
        return None
    when, question = (bare(part) for part in match.groups())
    when = when.rstrip(".。") if len(when) <= _LONGEST_CASE_CHARACTERS else ""
    return when, question if _is_question(question) else ""


def parse_questions(text: str) -> list[str]:
    """The questions of a list; other lines are passed over."""
    return [question for line in text.splitlines() if _is_question(question := list_item(line))]


def _is_question(text: str) -> bool:
    return text.endswith(QUESTION_MARKS) and len(text) <= _LONGEST_QUESTION_CHARACTERS
