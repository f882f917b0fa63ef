"""A run's folder and its open database, and children that are killed while they write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ethos.store.database import Database
from ethos.store.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs" / "wren", "name: wren\n")


@pytest.fixture
def database(run: RunDirectory) -> Iterator[Database]:
    with run.lock(), run.open_database() as opened:
        yield opened


@pytest.fixture
def kill_after() -> Callable[[str, Path, int], list[str]]:
    """Runs a script in a process of its own, kills it -9 after so many lines of output, and returns all it printed."""

    def kill(script: str, path: Path, lines: int) -> list[str]:
        with subprocess.Popen(
            [sys.executable, "-u", "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            printed = [line for line in (child.stdout.readline().strip() for _ in range(lines)) if line]
            child.kill()
            return printed + child.stdout.read().split()

    return kill
