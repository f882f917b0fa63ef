"""Where the parts of a run lie on disk, and who may write them.

The holder of `run.lock` writes `run.db`; everyone else reads it and files requests.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import TextIO

from ethos.errors import EthosError
from ethos.store.canonical import canonical_json, utc_now
from ethos.store.config.run import without_places
from ethos.store.database import RUN_SCHEMA, Database
from ethos.store.files import disk_errors_told, write_atomically

_PATIENCE_S = 0.2  # longer than another process needs to look who holds the lock


class LockTaken(EthosError):
    """Somebody else writes the run."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes a run."""

    pid: int
    host: str
    since: str


class RunDirectory:
    """One run's folder. Making this object touches nothing on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.yaml"
        self.database_path = path / "run.db"
        self.lock_path = path / "run.lock"
        self.requests = path / "requests"
        self.answered = self.requests / "answered"
        self.rows = path / "rows"
        self.checkpoints = path / "checkpoints"
        self.student = path / "student"
        self.reward_model = path / "reward_model"
        self.rollout_adapter = path / "rollout_adapter"  # what a server was last given to draw with
        self.report_json = path / "report.json"
        self._locked = False

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.absolute().name

    @classmethod
    def create(cls, path: Path, config_text: str) -> RunDirectory:
        """Makes the folder and writes `config.yaml` once; a run with this very config is taken as it is.

        Where the config's files lie may have changed since.

        Raises:
            EthosError: if the run exists with another config, or the folder can't be made.
        """
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EthosError(
                f"{path}: the run's folder can't be made ({error.strerror}); choose another place"
            ) from error
        if not run.config_path.exists():
            with run.lock():
                if not run.config_path.exists():
                    write_atomically(run.config_path, config_text.encode())
        launched = run.config_path.read_text(encoding="utf-8", errors="replace")
        if without_places(launched) != without_places(config_text):
            raise EthosError(
                f"{path}: this run exists with another config, and a config never changes after launch; "
                "give the new run another name, or remove that folder"
            )
        return run

    @classmethod
    def find(cls, path: Path) -> RunDirectory:
        """A run that exists. Raises EthosError if there is none."""
        if not holds_run(path):
            raise EthosError(f"{path}: no run lies there (it has no config.yaml); name a folder that `ethos run` made")
        return cls(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds `run.lock` during the block; the lock is free again when the process ends, however it ends.

        Raises:
            LockTaken: if another process, or another `RunDirectory` of this one, holds it.
        """
        try:
            file = self.lock_path.open("ab+", buffering=0)  # what can't be written is told at once, not on closing
        except OSError as error:
            raise EthosError(
                f"{self.lock_path}: can't be opened ({error.strerror}); make the run's folder writable"
            ) from error
        with file:
            if not _take(file, self.lock_path):
                raise LockTaken(self._taken_message())
            with disk_errors_told(self.lock_path):
                file.truncate(0)
                file.write(canonical_json(asdict(Holder(os.getpid(), socket.gethostname(), utc_now()))).encode())
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
                file.truncate(0)

    def holder(self) -> Holder | None:
        """Who writes the run now; None if nobody, whatever its status says: a killed run can't correct it.

        Raises EthosError if nobody may look.
        """
        try:
            with disk_errors_told(self.lock_path):
                file = self.lock_path.open(encoding="utf-8")
        except FileNotFoundError:
            return None
        with file:
            try:
                _flock(file, fcntl.LOCK_SH, self.lock_path)
            except BlockingIOError:
                return _read_holder(file)
        return None

    def open_database(self) -> Database:
        """`run.db` for writing, made if it isn't there. Only inside `lock()`."""
        if not self._locked:
            raise RuntimeError(f"{self.database_path} is written by the holder of run.lock only; enter `lock()` first")
        return Database.open(self.database_path, RUN_SCHEMA)

    def read_database(self) -> Database:
        """`run.db` for reading, also while another process writes it. EthosError if it isn't there yet."""
        return Database.open(self.database_path, RUN_SCHEMA, read_only=True)

    def _taken_message(self) -> str:
        holder = self.holder()
        writer = "another process"
        if holder is not None and holder.pid:
            writer = f"process {holder.pid}"
            if holder.host != socket.gethostname():
                writer += f" on {holder.host}"
        return (
            f"{self.path} is being written by {writer}; "
            "wait until it ends, or ask it with `ethos adjust`, `ethos pause` or `ethos resume`"
        )


def holds_run(path: Path) -> bool:
    """Whether a run lies there. Raises EthosError if nobody can look, as in a folder that may not be searched."""
    try:
        return RunDirectory(path).config_path.is_file()
    except OSError as error:
        raise EthosError(
            f"{path}: can't be looked at ({error.strerror}); name a run in runs/, or a folder that you may read"
        ) from error


def _flock(file: FileIO | TextIO, how: int, path: Path) -> None:
    """Raises BlockingIOError if somebody else holds the lock, and EthosError where no file can be locked at all."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise EthosError(
            f"{path}: {error.strerror}; files can't be locked there, as on some network disks: "
            "name a place on a local one, and run again"
        ) from error


def _take(file: FileIO, path: Path) -> bool:
    """Tries for a moment, so that a process that only looks at the lock is never mistaken for a holder."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _flock(file, fcntl.LOCK_EX, path)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PATIENCE_S / 10)


def _read_holder(file: TextIO) -> Holder:
    """Pid 0 where the holder has only just come and not written its name yet."""
    try:
        return Holder(**json.loads(file.read()))
    except ValueError:
        return Holder(0, "", "")
