"""The append-only record of what changed in a run, when, by whom and why; and its fold, the knobs.

Steps count from 1. An entry's step is the first that it is in force for. A checkpoint at step N holds the
state after step N, so a branch forked there inherits the entries with step <= N.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

from ethos.errors import EthosError
from ethos.spec.types import Json
from ethos.store.canonical import canonical_json, digest, utc_now
from ethos.store.config.knobs import Knobs
from ethos.store.database import Database
from ethos.store.knobs import with_knob

Kind = Literal["knob", "data", "reading", "control", "note"]
Origin = Literal["person", "rule", "agent"]

MAIN = "main"
NO_ENTRY_BEFORE = "0" * 64
_END = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be recorded; the journal adds the rest. For a knob, `name` is its path."""

    kind: Kind
    name: str
    step: int
    origin: Origin
    author: str
    reason: str
    branch: str = MAIN
    parent_checkpoint: str | None = None
    old: Json = None
    new: Json = None
    rule: str | None = None
    rule_version: str | None = None
    evidence: Json = None
    request: str | None = None  # id of the request that asked for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Draft):
    """What was recorded."""

    sequence: int  # from 1, over all branches of the run
    run: str
    created: str
    previous_hash: str
    hash: str

    def content_hash(self) -> str:
        """The hash that `hash` has to be: over everything else, the hash of the entry before included."""
        return digest({name: value for name, value in asdict(self).items() if name != "hash"})


_COLUMNS = tuple(field.name for field in fields(Entry))
_JSON_COLUMNS = ("old", "new", "evidence")
_INSERT = f"INSERT INTO journal ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class Journal:
    """The journal of one run, over its launch knobs."""

    def __init__(self, database: Database, run: str, launch: Knobs) -> None:
        self._database = database
        self._run = run
        self._launch = launch

    def append(self, draft: Draft) -> Entry:
        """Records one entry; it is on the disk when this returns. Errors as `append_all`."""
        return self.append_all([draft])[0]

    def append_all(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Records entries that belong together, such as the changes of one request: all of them, or none.

        Raises:
            EthosError: if a knob's name or value is not allowed, or the request is in the journal already.
        """
        for draft in drafts:
            if draft.kind == "knob":
                with_knob(self._launch, draft.name, draft.new)
        entries: list[Entry] = []
        with self._database.transaction(durable=True) as connection:
            for request in {draft.request for draft in drafts} - {None}:
                if connection.execute("SELECT 1 FROM journal WHERE request = ?", (request,)).fetchone():
                    raise EthosError(f"request {request} is in the journal already; file a new one to change more")
            last = connection.execute("SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1").fetchone()
            sequence, previous_hash = last or (0, NO_ENTRY_BEFORE)
            for draft in drafts:
                sequence += 1
                entry = _sealed(draft, self._run, sequence, previous_hash)
                connection.execute(_INSERT, _to_row(entry))
                entries.append(entry)
                previous_hash = entry.hash
        return entries

    def entries(self, branch: str | None = None, since: int = 0) -> list[Entry]:
        """Entries after sequence number `since`, in order; of one branch alone, or of all."""
        rows = self._database.query(
            "SELECT * FROM journal WHERE sequence > ? AND (branch = ? OR ? IS NULL) ORDER BY sequence",
            (since, branch, branch),
        )
        return [_from_row(row) for row in rows]

    def sequence_of(self, request: str) -> int | None:
        """The first entry that a request led to, or None if it led to none."""
        rows = self._database.query("SELECT min(sequence) FROM journal WHERE request = ?", (request,))
        sequence: int | None = rows[0][0]
        return sequence

    def knobs(self, branch: str, step: int) -> Knobs:
        """What is in force at a step: the launch knobs, and the changes in the order they were made.

        Ancestors come first, up to where they were left. Raises EthosError if there is no such branch.
        """
        knobs = self._launch
        for name, last_step, last_sequence in self._ancestry(branch, step):
            changes = self._database.query(
                "SELECT name, new FROM journal"
                " WHERE kind = 'knob' AND branch = ? AND step <= ? AND sequence <= ? ORDER BY sequence",
                (name, last_step, last_sequence),
            )
            for change in changes:
                knobs = with_knob(knobs, change["name"], json.loads(change["new"]))
        return knobs

    def fork(self, branch: str, parent: str, step: int) -> None:
        """Starts a branch from the parent's checkpoint at `step`. Its past is what the journal says now.

        Raises:
            EthosError: if the branch exists, or the parent doesn't.
        """
        self._ancestry(parent, step)
        with self._database.transaction(durable=True) as connection:
            self.require_new(branch)
            connection.execute(
                "INSERT INTO branches SELECT ?, ?, ?, coalesce(max(sequence), 0) FROM journal",
                (branch, parent, step),
            )

    def require_new(self, branch: str) -> None:
        """Raises EthosError if there is such a branch."""
        if branch in self.branches():
            raise EthosError(f"branch {branch} exists already; give the new one another name")

    def origin(self, branch: str, step: int) -> str:
        """The branch that took this step: itself, or the ancestor that it was forked from later."""
        ancestry = self._ancestry(branch, step)
        return next(name for name, last_step, _ in ancestry if step <= last_step)

    def forked_at(self, branch: str) -> int:
        """The parent's step that a branch was forked at; 0 for a branch from the beginning, and for `main`."""
        rows = self._database.query("SELECT fork_step FROM branches WHERE name = ?", (branch,))
        step: int | None = rows[0]["fork_step"] if rows else None
        return step or 0

    def branches(self) -> list[str]:
        """All branches, in the order they were started."""
        return [row["name"] for row in self._database.query("SELECT name FROM branches ORDER BY rowid")]

    def verify(self) -> None:
        """Raises EthosError that names the first entry that was altered or put in, or that follows a removed one.

        If the last were removed, nothing tells.
        """
        previous_hash = NO_ENTRY_BEFORE
        for number, entry in enumerate(self.entries(), start=1):
            if entry.previous_hash != previous_hash or entry.hash != entry.content_hash():
                raise EthosError(
                    f"{self._database.path}: journal entry {number} ({entry.kind} {entry.name}) is not as it was "
                    "written; restore run.db from a copy, or trust nothing from this entry on"
                )
            previous_hash = entry.hash

    def _ancestry(self, branch: str, step: int) -> list[tuple[str, int, int]]:
        """(branch, last step, last sequence) that count, from the oldest ancestor down to the branch."""
        line: list[tuple[str, int, int]] = []
        name: str | None = branch
        last_step, last_sequence = step, _END
        while name is not None:
            rows = self._database.query("SELECT * FROM branches WHERE name = ?", (name,))
            if not rows:
                raise EthosError(f"{self._database.path}: there is no branch named {name}; name one that is there")
            line.append((name, last_step, last_sequence))
            name = rows[0]["parent"]
            if name is not None:
                last_step = min(last_step, rows[0]["fork_step"])
                last_sequence = min(last_sequence, rows[0]["fork_sequence"])
        return line[::-1]


def _sealed(draft: Draft, run: str, sequence: int, previous_hash: str) -> Entry:
    written = {field.name: getattr(draft, field.name) for field in fields(Draft)}
    entry = Entry(**written, sequence=sequence, run=run, created=utc_now(), previous_hash=previous_hash, hash="")
    return replace(entry, hash=entry.content_hash())


def _to_row(entry: Entry) -> list[object]:
    return [
        canonical_json(getattr(entry, name)) if name in _JSON_COLUMNS else getattr(entry, name) for name in _COLUMNS
    ]


def _from_row(row: sqlite3.Row) -> Entry:
    return Entry(**{name: json.loads(row[name]) if name in _JSON_COLUMNS else row[name] for name in _COLUMNS})
