"""What a run writes while it works: metrics, replies with verdicts, samples of the policy, batch records.

All is keyed by branch and step, so that repeating steps after a kill overwrites or reads, and never doubles.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ethos.spec.conversation import Conversation
from ethos.store.canonical import canonical_json, utc_now
from ethos.store.database import Database

WATCHED = ("loss.", "reward.")
"""How the names of metrics begin that a person watches while it trains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply to a scenario, and how it was found to follow one clause."""

    branch: str
    step: int
    arm: str  # who replied: base, prompted, trained, …
    purpose: str  # what for: taste, sealed, …
    scenario_id: str
    clause_id: str
    topic_id: str
    context: str
    pool: str
    contrast: bool
    prompt: Conversation
    reply: str
    adherence: float | None  # None: unscored
    verdicts: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySample:
    """A draw of the policy at a step, and what came out (the payload is the sampler's own JSON)."""

    branch: str
    step: int
    purpose: str
    asked_digest: str  # of the prompt and the sampling parameters
    draw: int
    payload: Mapping[str, Any]


_REPLY_COLUMNS = tuple(field.name for field in fields(Reply))


class Records:
    """Metrics, replies, samples and batches of one run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_metrics(self, branch: str, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of a step; NaN is kept, for a loss that diverged has to be seen."""
        rows = [(branch, step, name, float(value)) for name, value in values.items()]
        with self._database.transaction(durable=False) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO metrics (branch, step, name, value) VALUES (?, ?, ?, ?)", rows
            )

    def metric(self, branch: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of one metric on one branch, by step."""
        rows = self._database.query(
            "SELECT step, value FROM metrics WHERE branch = ? AND name = ? ORDER BY step", (branch, name)
        )
        return [(row["step"], math.nan if row["value"] is None else row["value"]) for row in rows]

    def metrics_at(self, branch: str, step: int) -> dict[str, float]:
        """All metrics of a step, by name."""
        rows = self._database.query(
            "SELECT name, value FROM metrics WHERE branch = ? AND step = ? ORDER BY name", (branch, step)
        )
        return {row["name"]: math.nan if row["value"] is None else row["value"] for row in rows}

    def metric_names(self, branch: str) -> list[str]:
        """The metrics that a branch has."""
        rows = self._database.query("SELECT DISTINCT name FROM metrics WHERE branch = ? ORDER BY name", (branch,))
        return [row["name"] for row in rows]

    def add_replies(self, replies: Iterable[Reply]) -> None:
        """Writes replies in one transaction; the same look taken again takes the place of the first."""
        created = utc_now()
        rows = [(*_reply_to_row(reply), created) for reply in replies]
        columns = (*_REPLY_COLUMNS, "created")
        sql = f"INSERT OR REPLACE INTO replies ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        with self._database.transaction(durable=True) as connection:
            connection.executemany(sql, rows)

    def replies(
        self,
        *,
        branch: str | None = None,
        step: int | None = None,
        arm: str | None = None,
        purpose: str | None = None,
        clause_id: str | None = None,
    ) -> list[Reply]:
        """Replies that match all that is given, in the order they were written."""
        wanted = {"branch": branch, "step": step, "arm": arm, "purpose": purpose, "clause_id": clause_id}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given) or "true"
        rows = self._database.query(f"SELECT * FROM replies WHERE {where} ORDER BY rowid", tuple(given.values()))
        return [_reply_from_row(row) for row in rows]

    def add_samples(self, samples: Iterable[PolicySample]) -> None:
        """Writes draws of the policy in one transaction; the first writing of a draw stays."""
        rows = [(s.branch, s.step, s.purpose, s.asked_digest, s.draw, canonical_json(dict(s.payload))) for s in samples]
        with self._database.transaction(durable=True) as connection:
            connection.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)", rows)

    def samples(self, branch: str, step: int, purpose: str) -> dict[tuple[str, int], dict[str, Any]]:
        """What was drawn already, by (digest of what was asked, draw): a resumed run samples only the rest."""
        rows = self._database.query(
            "SELECT * FROM samples WHERE branch = ? AND step = ? AND purpose = ? ORDER BY rowid",
            (branch, step, purpose),
        )
        return {(row["asked_digest"], row["draw"]): json.loads(row["payload"]) for row in rows}

    def add_batch(self, branch: str, step: int, record: Mapping[str, Any]) -> None:
        """Commits a step's batch record, on the disk before the step may train. A step has one, for ever."""
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?)",
                (branch, step, canonical_json(dict(record)), utc_now()),
            )

    def batch(self, branch: str, step: int) -> dict[str, Any] | None:
        """The batch record of a step, or None if it was not reached."""
        rows = self._database.query("SELECT record FROM batches WHERE branch = ? AND step = ?", (branch, step))
        record: dict[str, Any] | None = json.loads(rows[0]["record"]) if rows else None
        return record

    def begin_draw(self, branch: str, step: int, knobs: Mapping[str, Any]) -> None:
        """Commits what a step is drawn with, before others are asked for it: what is changed later is not its own."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("INSERT INTO draws VALUES (?, ?, ?)", (branch, step, canonical_json(dict(knobs))))

    def drawn_with(self, branch: str, step: int) -> dict[str, Any] | None:
        """The knobs that the draw of a step was begun with; None if none was, or nobody was asked for it."""
        rows = self._database.query("SELECT knobs FROM draws WHERE branch = ? AND step = ?", (branch, step))
        knobs: dict[str, Any] | None = json.loads(rows[0]["knobs"]) if rows else None
        return knobs

    def is_begun(self, branch: str, step: int) -> bool:
        """Whether a step has its batch record, or is being drawn."""
        where = "WHERE branch = ? AND step = ?"
        found = self._database.query(
            f"SELECT 1 FROM batches {where} UNION ALL SELECT 1 FROM draws {where} LIMIT 1", (branch, step) * 2
        )
        return bool(found)

    def is_trained(self, branch: str, step: int) -> bool:
        """Whether a step was taken: its metrics are written after it."""
        return bool(
            self._database.query(
                "SELECT 1 FROM metrics WHERE branch = ? AND step = ? AND name = 'gradient_norm'", (branch, step)
            )
        )

    def add_references(self, logprobs: Mapping[str, Sequence[float]]) -> None:
        """Writes what a frozen reference gives each row's completions, by row id."""
        rows = [(row_id, canonical_json(list(values))) for row_id, values in logprobs.items()]
        with self._database.transaction(durable=True) as connection:
            connection.executemany("INSERT OR IGNORE INTO reference_logprobs VALUES (?, ?)", rows)

    def references(self, row_ids: Iterable[str]) -> dict[str, list[float]]:
        """Of these rows the ones that the reference has been asked about, with what it gave their completions."""
        wanted = list(dict.fromkeys(row_ids))
        rows = self._database.query(
            f"SELECT * FROM reference_logprobs WHERE row_id IN ({', '.join('?' * len(wanted))})", tuple(wanted)
        )
        return {row["row_id"]: json.loads(row["logprobs"]) for row in rows}


def _reply_to_row(reply: Reply) -> Sequence[Any]:
    values = {name: getattr(reply, name) for name in _REPLY_COLUMNS}
    values["prompt"] = canonical_json(reply.prompt.to_dicts())
    values["verdicts"] = canonical_json([dict(verdict) for verdict in reply.verdicts])
    return tuple(values.values())


def _reply_from_row(row: sqlite3.Row) -> Reply:
    values = {name: row[name] for name in _REPLY_COLUMNS}
    values["contrast"] = bool(row["contrast"])
    values["prompt"] = Conversation.from_dicts(json.loads(row["prompt"]))
    values["verdicts"] = tuple(json.loads(row["verdicts"]))
    return Reply(**values)
