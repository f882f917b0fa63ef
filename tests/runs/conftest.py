"""A folder with the tiny model, a config and a spec, and a sitting of its run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ethos.runs.session import Session
from runs.tiny import write_tiny
from runs.training_run import session_in, write_config


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run is launched, with a cache of its own."""
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny").symlink_to(tiny)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    with session_in(folder) as opened:
        yield opened
