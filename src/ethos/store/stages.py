"""How far a run is: its stages, what they rejected and why, what it has to say, and the status that others watch.

A sitting is the time from a launch to its end, be that the report, an error or a kill.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal

from ethos.spec.types import Json
from ethos.store.canonical import canonical_json, utc_now
from ethos.store.database import Database

State = Literal["running", "paused", "stopped", "done", "failed"]
NoticeKind = Literal["failure", "warning"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that is finished, with what it left behind."""

    name: str
    inputs_digest: str
    payload: Json
    started: str
    finished: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the run is. A kill leaves it stale: `RunDirectory.holder` tells whether anyone is at work."""

    state: State
    stage: str
    done: int
    total: int | None  # None while it isn't known
    message: str
    updated: str = ""  # set when it is written


class Stages:
    """Stages, counters and status of one run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sitting_start_s: float | None = None

    def begin(self, name: str, inputs_digest: str) -> None:
        """Marks a stage as started; an earlier finish of it, for whatever inputs, no longer counts."""
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO stages (name, inputs_digest, started) VALUES (?, ?, ?)",
                (name, inputs_digest, utc_now()),
            )

    def finish(self, name: str, payload: Json) -> None:
        """Marks a stage that was begun as finished: it is then skipped while its inputs are the same."""
        with self._database.transaction(durable=True) as connection:
            updated = connection.execute(
                "UPDATE stages SET payload = ?, finished = ? WHERE name = ?",
                (canonical_json(payload), utc_now(), name),
            )
            if updated.rowcount != 1:
                raise RuntimeError(f"stage {name} was never begun")

    def finished(self, name: str, inputs_digest: str) -> Stage | None:
        """The stage as it finished with these very inputs, or None if it has to be done."""
        rows = self._database.query(
            "SELECT * FROM stages WHERE name = ? AND inputs_digest = ? AND finished IS NOT NULL",
            (name, inputs_digest),
        )
        return None if not rows else Stage(**{**dict(rows[0]), "payload": json.loads(rows[0]["payload"])})

    def payload(self, name: str) -> Json:
        """What a stage left behind when it last finished, whatever its inputs; None if it never did."""
        rows = self._database.query("SELECT payload FROM stages WHERE name = ? AND finished IS NOT NULL", (name,))
        found: Json = json.loads(rows[0]["payload"]) if rows else None
        return found

    def set_counts(self, stage: str, counts: Mapping[str, int]) -> None:
        """Sets what a stage rejected, by reason. Totals, so that repeating a stage doubles nothing."""
        rows = [(stage, reason, count) for reason, count in counts.items()]
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM counters WHERE stage = ?", (stage,))
            connection.executemany("INSERT INTO counters VALUES (?, ?, ?)", rows)

    def counts(self, stage: str | None = None) -> dict[str, int]:
        """Rejections by reason, of one stage or added up over all."""
        rows = self._database.query(
            "SELECT reason, sum(count) AS total FROM counters WHERE stage = ? OR ? IS NULL"
            " GROUP BY reason ORDER BY reason",
            (stage, stage),
        )
        return {row["reason"]: row["total"] for row in rows}

    def add_notice(self, kind: NoticeKind, text: str) -> None:
        """Keeps what the report has to say of the run; one that is there already stays as it is."""
        with self._database.transaction(durable=False) as connection:
            connection.execute("INSERT OR IGNORE INTO notices (kind, text) VALUES (?, ?)", (kind, text))

    def notices(self, kind: NoticeKind) -> list[str]:
        """Those of a kind, in the order they came."""
        rows = self._database.query("SELECT text FROM notices WHERE kind = ? ORDER BY sequence", (kind,))
        return [row["text"] for row in rows]

    def begin_sitting(self) -> None:
        """From now on the status dates a new sitting."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("INSERT INTO sittings (started, seconds) VALUES (?, 0)", (utc_now(),))
        self._sitting_start_s = time.monotonic()

    def started(self) -> str:
        """When the first sitting began; ISO 8601. Raises IndexError before."""
        return str(self._database.query("SELECT started FROM sittings ORDER BY sequence")[0]["started"])

    def seconds(self) -> float:
        """How long all sittings took, each up to its latest status."""
        return float(self._database.query("SELECT coalesce(sum(seconds), 0) AS total FROM sittings")[0]["total"])

    def set_status(self, status: Status) -> None:
        """Replaces the status, and dates it and the sitting."""
        *values, _ = astuple(status)
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO status VALUES (1, ?, ?, ?, ?, ?, ?)",
                (*values, utc_now()),
            )
            if self._sitting_start_s is not None:
                connection.execute(
                    "UPDATE sittings SET seconds = ? WHERE sequence = (SELECT max(sequence) FROM sittings)",
                    (time.monotonic() - self._sitting_start_s,),
                )

    def status(self) -> Status | None:
        """The latest status; None before the first."""
        rows = self._database.query("SELECT * FROM status")
        values: list[dict[str, Any]] = [{field.name: row[field.name] for field in fields(Status)} for row in rows]
        return Status(**values[0]) if values else None
