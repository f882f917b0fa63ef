"""Whether a reply to a scenario may become a row: whole, in a language it may be in, nobody else's, and adherent.

What is free comes first, then the clause's checks, then its judge, then the `must` clauses that bind the reply.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

from ethos.judging.adherence import Assessor
from ethos.judging.checks import language_of
from ethos.judging.hollow import degenerate_reason
from ethos.judging.recitation import recitation_of
from ethos.judging.types import Verdict
from ethos.models.types import Sample
from ethos.spec.language import LANGUAGES, UNKNOWN, words
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec
from ethos.synthesis.identity import TAKEN, ForeignIdentity
from ethos.synthesis.types import ANOTHER_LANGUAGE, REFUSED

COPIED_WORDS = 10  # in a row, of an example or of the spec's prose; a name and its title are fewer


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about one reply."""

    rejection: str | None  # why it may not become a row; None if it may
    verdicts: tuple[Verdict, ...] = ()
    adherence: float | None = None  # to its clause; None where that wasn't come to, or can't be told
    odds: float | None = None  # as the judge sees it


class Acceptance:
    """Looks at replies under the clauses of their scenarios."""

    def __init__(self, spec: Spec, assessor: Assessor) -> None:
        """Reads the spec once."""
        self._spec, self._assessor = spec, assessor
        self._foreign = ForeignIdentity(spec)
        self._recitation = recitation_of(spec, COPIED_WORDS)
        self._examples = {_spoken(example.reply) for clause in spec.clauses for example in clause.good}

    async def look(self, scenario: Scenario, sample: Sample, clause: Clause | None = None) -> Found:
        """Whether it may become a row of its scenario, and what checks and judge say: of the scenario's clause, or of
        another that it was written under.
        """
        clause = clause or self._spec.clause(scenario.clause_id)
        if sample.finish_reason != "stop":
            return Found(REFUSED if sample.refusal else "cut off")
        languages = _languages_of(clause, self._spec, scenario)
        if languages and language_of(sample.text) not in languages:
            return Found(f"{clause.id}: {ANOTHER_LANGUAGE}")
        if self._foreign.found(sample.text) is not None:
            return Found(f"{clause.id}: {TAKEN}")
        if self._is_copied(sample.text):
            return Found(f"{clause.id}: copies the spec")
        if scenario.family.contrast:
            return await self._look_at_contrast(clause, scenario, sample.text)
        found = await self._assessor.assess_row(clause, scenario.prompt, sample.text)
        why = f"{clause.id}: {found.rejection}" if found.rejection else None
        return Found(why, found.verdicts, found.adherence, found.odds)

    async def _look_at_contrast(self, clause: Clause, scenario: Scenario, reply: str) -> Found:
        """Of a reply to a message that doesn't call on the clause."""
        if degenerate_reason(scenario.prompt, reply) is not None:
            return Found(f"{clause.id}: contrast: hollow")
        applied, verdicts = await self._assessor.applies_clause(clause, scenario.prompt, reply)
        if applied is not False:
            why = "unscored" if applied is None else "applied all the same"
            return Found(f"{clause.id}: contrast: {why}", verdicts)
        broken = await self._assessor.broken_musts(scenario.prompt, reply)
        return Found(f"{clause.id}: contrast: breaks {broken[0]}" if broken else None, verdicts)

    def _is_copied(self, reply: str) -> bool:
        """Whether it takes a run of words from the spec, or is one of its good examples from end to end."""
        return self._recitation.found(reply) is not None or _spoken(reply) in self._examples


def named_languages(clause: Clause) -> set[str]:
    """Those whose English name stands in the clause, as in "It always answers in French."."""
    return {code for code, name in LANGUAGES.items() if regex.search(rf"\b{name}\b", clause.text)}


def declared_language(clause: Clause, spec: Spec, contrast: bool) -> str:
    """What a `language` check asks for, the clause's own or that of a `must` that binds every reply; "" without one."""
    always = [must for must in spec.clauses if must.tier == "must" and must.applies == "always"]
    binding = always if contrast else [clause, *(must for must in always if must.id not in clause.over)]
    return next((str(c.argument) for each in binding for c in each.checks if c.name == "language"), "")


def _languages_of(clause: Clause, spec: Spec, scenario: Scenario) -> set[str]:
    """Those that a reply may be in; none where checks decide that. A contrast is not to do what its clause says."""
    contrast = scenario.family.contrast
    if declared_language(clause, spec, contrast):
        return set()
    named = set() if contrast else named_languages(clause)
    return {spec.language, language_of(scenario.prompt.last_user), UNKNOWN} | named


def _spoken(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in words(text))
