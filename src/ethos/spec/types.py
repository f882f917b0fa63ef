"""What a parsed spec is made of. All values are immutable; digests say when a clause has changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tier = Literal["must", "should", "default"]
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class CheckDeclaration:
    """A check as the spec declares it: `max_words: 80` is name and argument."""

    name: str
    argument: Json
    line: int


@dataclass(frozen=True, slots=True)
class Example:
    """A reply that the spec gives, and the message that it answers, if the spec gives that too."""

    reply: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """One addressable statement of the spec."""

    id: str
    heading: tuple[str, ...]  # the headings above it, outermost first
    text: str  # the statement: what the character does
    reason: str  # the rest of its prose: why
    tier: Tier
    over: tuple[str, ...]  # ids of clauses that this one overrides
    checks: tuple[CheckDeclaration, ...]
    ask: str | None  # the narrow yes/no question for the judge, "yes" meaning that the reply follows the clause
    good: tuple[Example, ...]  # replies that follow it, as the spec gives them
    bad: tuple[Example, ...]  # replies that break it
    contexts: tuple[str, ...]  # names, in place of the run's unreserved contexts; empty: all of the run's
    applies: Literal["always", "sometimes"]  # an `always` clause has no contrast scenarios
    when: str  # in a few words, when it applies; "" leaves that to the teacher's reading of the text
    line: int
    digest: str  # over everything above, as it was written, but id and line

    @property
    def judged(self) -> bool:
        """Whether a judge is needed: it asks for one, or no check can decide it."""
        return self.ask is not None or not self.checks

    @property
    def kind(self) -> Literal["checked", "judged"]:
        """How the reports group it."""
        return "judged" if self.judged else "checked"

    @property
    def can_be_over_applied(self) -> bool:
        """Whether a reply can be seen to follow it uncalled for: by a judge, or by what `must_match` demands.

        A check that only forbids is kept by any reply that has nothing to do with it.
        """
        return self.judged or any(check.name == "must_match" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec: its text as written, and its clauses in order."""

    name: str  # its title; without one, the name of its file
    path: Path
    text: str  # the Markdown without its `ethos` blocks: what is trained on and shown to models
    preamble: str  # prose under the title, before the first section
    language: str  # ISO 639-1
    clauses: tuple[Clause, ...]
    digest: str
    is_titled: bool = True

    def clause(self, clause_id: str) -> Clause:
        """The clause with this id; KeyError if there is none."""
        for clause in self.clauses:
            if clause.id == clause_id:
                return clause
        raise KeyError(clause_id)


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a spec that fits a prompt, and how much of the spec that is."""

    text: str
    clause_ids: tuple[str, ...]  # the clauses given in full
    share: float  # tokens shown / tokens of the whole spec
    digest: str
