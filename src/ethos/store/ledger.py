"""What a run costs: every model call, by the role it was made for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from ethos.store.canonical import utc_now
from ethos.store.database import Database

STUDENT, POLICY = "student", "policy"  # roles: before training, and while and after it
CHORUS = "chorus"  # of the models that draw rows together in the teacher's place
UNBUDGETED = (STUDENT, POLICY)
"""Roles that no budget counts: whoever trains a model runs it."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call, made or answered from the cache. A cached one says what it would have cost in tokens."""

    role: str  # teacher, judge, student, policy, …
    model: str  # as the user wrote it
    purpose: str  # what the policy was asked for; empty for models that don't change
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    usd: float
    key: str  # in the response cache; empty where the answer isn't in it


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls. Tokens and money are of the calls made; cached ones are only counted."""

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


class Ledger:
    """The calls of one run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, calls: Iterable[ModelCall]) -> None:
        """Writes calls in one transaction."""
        created = utc_now()
        rows = [(*astuple(call), created) for call in calls]
        with self._database.transaction(durable=False) as connection:
            connection.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def totals(self) -> dict[str, Totals]:
        """By role."""
        rows = self._database.query(
            "SELECT role, count(*), sum(cached), sum(prompt_tokens * (1 - cached)),"
            " sum(completion_tokens * (1 - cached)), sum(usd * (1 - cached))"
            " FROM calls GROUP BY role ORDER BY role"
        )
        return {row["role"]: Totals(*tuple(row)[1:]) for row in rows}

    def models(self, role: str) -> dict[str, Totals]:
        """Of one role, by model."""
        rows = self._database.query(
            "SELECT model, count(*), sum(cached), sum(prompt_tokens * (1 - cached)),"
            " sum(completion_tokens * (1 - cached)), sum(usd * (1 - cached))"
            " FROM calls WHERE role = ? GROUP BY model ORDER BY model",
            (role,),
        )
        return {row["model"]: Totals(*tuple(row)[1:]) for row in rows}

    def keys(self, role: str, model: str) -> Iterator[str]:
        """Under which a model has had answers in that role."""
        rows = self._database.query("SELECT DISTINCT key FROM calls WHERE role = ? AND model = ?", (role, model))
        return (row["key"] for row in rows)

    def total(self) -> Totals:
        """Over all roles."""
        return sum(self.totals().values(), Totals())
