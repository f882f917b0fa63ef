"""What the prompts of a clause will be about: subjects in which it applies, and whole messages in which it doesn't.

Both come from lists that the teacher writes; of contrasts, those are kept that it least takes for a case of the clause.
"""

from __future__ import annotations

import asyncio
import re

from ethos.errors import EthosError
from ethos.judging.content import content_words, fillers_for
from ethos.judging.rubric import odds_of_yes
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.language import language_name, words
from ethos.spec.types import Clause, Spec
from ethos.synthesis.few_shot import few_shot
from ethos.synthesis.types import case_of, wording

_MOST_LISTS = 24  # asked for before giving up
_LISTS_AT_FIRST, _CONTRAST_LISTS_AT_FIRST = 4, 3
_LINES_A_LIST = 10
_SUBJECT_TOKENS, _CONTRAST_TOKENS = 11, 15  # a line; a list that rambles on is cut off
_CONTRAST_CHOICE = 3  # candidates for each contrast that is needed
_NUMBERED = re.compile(r"^\s*(?:\d+\s*[.):、．：]|[-*•])\s*(.+?)\s*$")
_QUESTION = re.compile(r"[?？]")


async def name_subjects(
    spec: Spec, clause: Clause, needed: int, seed: int, teacher: Sampler, *, contrast: bool = False
) -> list[str]:
    """At least `needed` distinct subjects, or messages for contrast, from as many lists as that takes.

    Raises EthosError if the teacher can't find so many.
    """
    if needed == 0:
        return []
    asked = few_shot("contrast_topics" if contrast else "topics").fill(
        {"count": str(_LINES_A_LIST), "case": case_of(clause), "language": language_name(spec.language)}
    )
    tokens = (_CONTRAST_TOKENS if contrast else _SUBJECT_TOKENS) * _LINES_A_LIST
    params = SamplingParams(tokens, temperature=0.9, top_p=0.95, seed=seed)
    found: dict[str, str] = {}
    asked_for, at_first = 0, _CONTRAST_LISTS_AT_FIRST if contrast else _LISTS_AT_FIRST
    while len(found) < needed and asked_for < _MOST_LISTS:
        draws = range(asked_for, min(max(at_first, 2 * asked_for), _MOST_LISTS))  # twice as many in all each time
        asked_for = draws.stop
        for sample in await teacher.sample(asked, params, draws):
            lines = sample.text.splitlines()
            for line in lines[:-1] if sample.finish_reason == "length" else lines:
                match = _NUMBERED.match(line)
                if match and (_is_plain_question(match.group(1), clause) if contrast else _is_phrase(match.group(1))):
                    topic = match.group(1).strip('*_"“” ').rstrip(".")
                    found.setdefault(topic.casefold(), topic)
    if len(found) < needed:
        raise EthosError(
            f"clause {clause.id}: the teacher {teacher.name} named {len(found)} distinct subjects, and {needed} "
            "are needed; add `when:` to the clause, lower scenarios.*_per_clause, or name a stronger teacher"
        )
    if not contrast:
        return list(found.values())[: max(needed, 4 * _LINES_A_LIST)]
    candidates = list(found.values())[: _CONTRAST_CHOICE * needed]
    odds = await asyncio.gather(*(odds_of_case(teacher, clause, text) for text in candidates))
    return [text for _, text in sorted(zip(odds, candidates, strict=True), key=lambda pair: pair[0])[:needed]]


async def odds_of_case(teacher: Sampler, clause: Clause, message: str) -> float:
    """The odds, as the teacher sees them, that a message calls on the clause.

    1 where any message does; a half without a clear answer, which speaks neither for a message nor for a contrast.
    """
    if clause.applies == "always" and not clause.when:
        return 1.0
    prompt = wording("case")
    asked = prompt.fill(trusted={**prompt.fields, "case": case_of(clause)}, quoted={"message": message})
    odds, _ = await odds_of_yes(teacher, asked, prompt.fields["yes"], prompt.fields["no"])
    return 0.5 if odds is None else odds


def _is_phrase(text: str) -> bool:
    return 1 <= len(words(text)) <= 12


def _is_plain_question(text: str, clause: Clause) -> bool:
    """Whether a contrast is a whole message that asks something, and has no word of the clause's case in it."""
    called_for = content_words(case_of(clause), fillers_for(case_of(clause)))
    shares = content_words(text, fillers_for(text)) & called_for
    return 4 <= len(words(text)) <= 30 and _QUESTION.search(text) is not None and not shares
