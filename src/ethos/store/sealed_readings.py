"""Counts how often sealed scenarios were read, over all runs: each reading that is acted on unseals them a bit.

A pool is counted scenario by scenario, so that one that shares most of its prompts with an old one isn't taken for new.
Left out on purpose: refusing a reading. Whoever compares seeds reads one pool several times, and rightly so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ethos.store.canonical import canonical_json, utc_now
from ethos.store.database import SEALED_SCHEMA, Database

_FILE = "sealed-scenarios.db"


def count_reading(directory: Path, scenarios: Sequence[str], entry: str, run: str) -> int:
    """Enters a reading of these scenarios; returns how often the one that was read most has been, this time included.

    `entry` is the hash of the reading's journal entry: entered again, as when a run resumes, it counts once.
    """
    database = Database.open(directory / _FILE, SEALED_SCHEMA)
    try:
        with database.transaction(durable=True) as connection:
            created = utc_now()
            rows = [(scenario, entry, run, created) for scenario in scenarios]
            connection.executemany("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)", rows)
        [row] = database.query(
            "SELECT max(readings) AS most FROM (SELECT count(*) AS readings FROM readings "
            "WHERE scenario IN (SELECT value FROM json_each(?)) GROUP BY scenario)",
            (canonical_json(list(scenarios)),),
        )
        return int(row["most"] or 0)
    finally:
        database.close()
