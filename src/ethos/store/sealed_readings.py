"""Counts how often a pool of sealed scenarios was read, over all runs: each reading that is acted on unseals it a bit.

Left out on purpose: refusing a reading. Whoever compares seeds reads one pool several times, and rightly so.
"""

from __future__ import annotations

from pathlib import Path

from ethos.store.canonical import utc_now
from ethos.store.database import SEALED_SCHEMA, Database


def count_reading(directory: Path, pool: str, entry: str, run: str) -> int:
    """Enters a reading in `<directory>/sealed-readings.db`; returns how many there are of that pool, this one included.

    `entry` is the hash of the reading's journal entry: entered again, as when a run resumes, it counts once.
    """
    database = Database.open(directory / "sealed-readings.db", SEALED_SCHEMA)
    try:
        with database.transaction(durable=True) as connection:
            connection.execute("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)", (pool, entry, run, utc_now()))
        [row] = database.query("SELECT count(*) AS readings FROM readings WHERE pool = ?", (pool,))
        return int(row["readings"])
    finally:
        database.close()
