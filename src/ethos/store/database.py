"""SQLite files: made whole, opened with the right pragmas, written in short explicit transactions.

One connection a process, which its threads share under a lock; other processes read at any time (WAL).
Migrations are left out before the first release: another version is refused.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ethos.errors import EthosError
from ethos.store.files import flush

BUSY_TIMEOUT_S = 30.0

_MENDS = {
    sqlite3.SQLITE_BUSY: "another process keeps writing it; wait for that one to end and run again",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, and run again",
    sqlite3.SQLITE_IOERR: "check the disk it lies on, and run again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy, or remove it and run again",
    sqlite3.SQLITE_FULL: "free some space and run again; what was committed is kept",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and is writable",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; move it away and run again",
}


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file holds: `file` beside this module, and the version that stands in `PRAGMA user_version`."""

    file: str
    version: int

    @property
    def sql(self) -> str:
        """The statements that make it."""
        return Path(__file__).with_name(self.file).read_text(encoding="utf-8")


RUN_SCHEMA = Schema("run_schema.sql", 7)
CACHE_SCHEMA = Schema("cache_schema.sql", 1)
SEALED_SCHEMA = Schema("sealed_schema.sql", 1)


class Database:
    """An open SQLite file. Safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, schema: Schema, *, read_only: bool = False) -> Database:
        """Opens the file; makes it first if it may be written and isn't there.

        Raises:
            EthosError: if it can't be opened, is missing and may not be made, or has another schema version.
        """
        if not path.exists():
            if read_only:
                raise EthosError(f"{path}: there is no such database yet; start the run first")
            with _explained(path):
                _make(path, schema)
        with _explained(path):
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA foreign_keys = ON")
                _require_version(path, connection, schema)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One short write: all of it, or nothing.

        A commit always survives `kill -9`; a `durable` one is on the disk before this returns, and survives a
        loss of power as well.
        """
        with self._lock, _explained(self.path):
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a SELECT, as one consistent view."""
        with self._lock, _explained(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Closes the file; what was committed stays."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _make(path: Path, schema: Schema) -> None:
    """Builds the file aside and links it into place, so that no other process ever meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        fresh = Path(folder) / path.name
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # flushed once, below
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {schema.sql} PRAGMA user_version = {schema.version}; COMMIT;")
        flush(fresh)
        with suppress(FileExistsError):
            os.link(fresh, path)
    flush(path.parent)


def _require_version(path: Path, connection: sqlite3.Connection, schema: Schema) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.version:
        raise EthosError(
            f"{path}: written by a newer Ethos (schema {version}, this one knows {schema.version}); "
            "upgrade Ethos to use it"
        )
    if version < schema.version:
        raise EthosError(
            f"{path}: not a database of this Ethos (schema {version}, expected {schema.version}); "
            "start a run of another name, or move a cache away"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what SQLite reports about the file or the disk into a sentence; mistakes in SQL pass through."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        mend = _MENDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if mend is None:
            raise
        raise EthosError(f"{path}: {error}; {mend}") from error
    except OSError as error:
        raise EthosError(f"{path}: {error.strerror or error}; check the disk and the folder's permissions") from error
