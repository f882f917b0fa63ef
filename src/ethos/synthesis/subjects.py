"""What the prompts of a clause will be about: subjects in which it applies, and whole messages in which it doesn't.

Both come from lists that the teacher writes. The messages are plain questions about nothing in particular: a small
model that is told what to leave out writes just that. Each clause takes those that the teacher least sees as its case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

from ethos.errors import EthosError
from ethos.judging.cases import case_of, odds_of_case
from ethos.judging.content import content_words, fillers_for
from ethos.judging.few_shot import list_item
from ethos.models.types import Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import QUESTION_MARKS, as_many_words, language_name, words
from ethos.spec.types import Clause, Spec
from ethos.synthesis.messages import clean_message
from ethos.synthesis.nearness import Taken, topic_key
from ethos.synthesis.types import few_shot

LINES_A_LIST = 10
LISTS_AT_FIRST, MOST_LISTS = 4, 24  # for the subjects of a clause
_LISTS_AT_ONCE = 64
LISTS_DRAWN, LISTS_TRIED = 4, 8  # for plain questions: so many times what would do if all lines could be used
SUBJECT_TOKENS, QUESTION_TOKENS = 11, 15  # a line; a list that rambles on is cut off
CONTRAST_CHOICE = 3  # candidates for each contrast that is needed


class TooFew(EthosError):
    """A teacher that can't think of as many as are needed."""


async def name_subjects(spec: Spec, clause: Clause, needed: int, seed: int, teacher: Sampler) -> list[str]:
    """At least `needed` distinct subjects in which a clause is called for.

    Raises TooFew if the teacher can't find so many.
    """
    asked = few_shot("topics").fill(
        {"count": str(LINES_A_LIST), "case": case_of(clause), "language": language_name(spec.language)}
    )
    params = SamplingParams(SUBJECT_TOKENS * LINES_A_LIST, temperature=0.9, top_p=0.95, seed=seed)
    key = partial(topic_key, language=spec.language)
    found = await _listed(teacher, asked, params, needed, _is_phrase, key, LISTS_AT_FIRST, MOST_LISTS)
    if len(found) < needed:
        raise TooFew(
            f"clause {clause.id}: the teacher {teacher.name} named {len(found)} distinct subjects, and {needed} "
            "are needed; add `when:` to the clause, lower scenarios.*_per_clause, or name a stronger teacher"
        )
    return found[: max(needed, 4 * LINES_A_LIST)]


async def name_contrasts(
    spec: Spec, needed: Mapping[str, int], seed: int, teacher: Sampler, taken: Taken
) -> dict[str, list[str]]:
    """For each clause id as many messages as `needed` says in which the clause is not called for.

    None is close to another, or to one of `taken`, which they are added to. A clause without enough of them is left
    out. Raises TooFew if every one is.
    """
    clauses = [spec.clause(clause_id) for clause_id, count in needed.items() if count]
    wanted = CONTRAST_CHOICE * sum(needed.values())
    if not wanted:
        return {}
    asked = few_shot("plain_questions").fill({"count": str(LINES_A_LIST), "language": language_name(spec.language)})
    params = SamplingParams(QUESTION_TOKENS * LINES_A_LIST, temperature=0.9, top_p=0.95, seed=seed)
    lists = -(-wanted // LINES_A_LIST)

    def usable(text: str) -> bool:
        return _is_plain_question(text) and taken.add(text)

    questions = await _listed(
        teacher, asked, params, wanted, usable, str.casefold, LISTS_DRAWN * lists, LISTS_TRIED * lists
    )

    candidates = _share_out(questions, clauses, needed)
    enough = [clause for clause in clauses if len(candidates[clause.id]) >= needed[clause.id]]
    if not enough:
        raise TooFew(
            f"of {len(questions)} plain questions that the teacher {teacher.name} named, no clause has enough that can "
            "stand as its contrasts; lower scenarios.contrast_per_clause, or name a stronger teacher"
        )

    async def least_like(clause: Clause) -> list[str]:
        texts = candidates[clause.id]
        odds = await asyncio.gather(*(odds_of_case(teacher, clause, text) for text in texts))
        ordered = sorted(zip(odds, texts, strict=True), key=lambda pair: pair[0])
        return [text for _, text in ordered[: needed[clause.id]]]

    chosen = await asyncio.gather(*map(least_like, enough))
    return {clause.id: texts for clause, texts in zip(enough, chosen, strict=True)}


async def _listed(
    teacher: Sampler,
    asked: Conversation,
    params: SamplingParams,
    needed: int,
    usable: Callable[[str], bool],
    key: Callable[[str], Hashable],
    lists: int,
    most_lists: int,
) -> list[str]:
    """Lines of numbered lists with distinct keys, by draw; twice as many lists each time, to `most_lists`."""
    found: dict[Hashable, str] = {}
    drawn = 0
    while len(found) < needed and drawn < most_lists:
        draws = range(drawn, min(max(lists, 2 * drawn), drawn + _LISTS_AT_ONCE, most_lists))
        drawn = draws.stop
        for sample in await teacher.sample(asked, params, draws):
            lines = sample.text.splitlines()
            for line in lines[:-1] if sample.finish_reason == "length" else lines:
                text = list_item(line).rstrip(".")
                if text and usable(text):
                    found.setdefault(key(text), text)
    return list(found.values())


def _share_out(questions: Sequence[str], clauses: Sequence[Clause], needed: Mapping[str, int]) -> dict[str, list[str]]:
    """Candidates for each clause: a question goes to the neediest clause whose case has no content word in common."""
    called_for = {clause.id: content_words(case_of(clause), fillers_for(case_of(clause))) for clause in clauses}
    candidates: dict[str, list[str]] = {clause.id: [] for clause in clauses}
    for question in questions:
        asked_about = content_words(question, fillers_for(question))
        fitting = [clause_id for clause_id in candidates if not asked_about & called_for[clause_id]]
        if fitting:
            neediest = min(fitting, key=lambda clause_id: len(candidates[clause_id]) / needed[clause_id])
            if len(candidates[neediest]) < CONTRAST_CHOICE * needed[neediest]:
                candidates[neediest].append(question)
    return candidates


def _is_phrase(text: str) -> bool:
    spoken = words(text)
    return 1 <= len(spoken) <= as_many_words(12, spoken) and "<|" not in text


def _is_plain_question(text: str) -> bool:
    spoken = words(text)
    is_question = any(mark in text for mark in QUESTION_MARKS)
    return 4 <= len(spoken) <= as_many_words(30, spoken) and is_question and clean_message(text) == text
