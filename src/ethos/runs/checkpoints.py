"""Checkpoints: written beside, hashed, renamed into place; kept by a retention rule.

A checkpoint at step N holds the state after step N.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.store.files import disk_errors_told, file_digest, flush, write_atomically
from ethos.training.policy import Policy

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Retention:
    """Which checkpoints stay: the newest, and every so many steps one for good."""

    newest: int
    every: int | None = None

    def gone(self, steps: Sequence[int]) -> list[int]:
        """Of the steps that have a checkpoint, oldest first, those whose go."""
        older = steps[: -self.newest]
        return [step for step in older if self.every is None or step % self.every]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:06d}"


def save_checkpoint(policy: Policy, folder: Path, step: int, state: Mapping[str, Any], retention: Retention) -> None:
    """Writes the checkpoint of a step, and removes those that the rule doesn't keep.

    Raises EthosError if the disk can't hold it; those that are there stay.
    """
    target = checkpoint_path(folder, step)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with disk_errors_told(target):
        _require_room(folder, policy.state_bytes, step)
        policy.save(partial, {"step": step, **state})
        for path in partial.iterdir():
            flush(path)
        hashes = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
        write_atomically(partial / _MANIFEST, json.dumps(hashes, indent=1).encode())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        flush(folder)
        for old in retention.gone(list_checkpoints(folder)):
            shutil.rmtree(checkpoint_path(folder, old))


def _require_room(folder: Path, size_bytes: int, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise EthosError(
            f"{folder}: the checkpoint of step {step} takes {size_bytes / 2**30:.1f} GiB and the disk has "
            f"{free / 2**30:.1f} GiB left; free some and run the same command to go on"
        )


def copy_checkpoint(source: Path, target: Path, step: int) -> None:
    """Gives another folder the checkpoint of a step; files are never written again, so both may be one on the disk."""
    unfinished = target / f".step-{step:06d}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    with disk_errors_told(target):
        unfinished.mkdir(parents=True)
        for path in checkpoint_path(source, step).iterdir():
            _link_or_copy(path, unfinished / path.name)
        unfinished.rename(checkpoint_path(target, step))
        flush(target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links
        shutil.copy2(source, target)
        flush(target)


def list_checkpoints(folder: Path) -> list[int]:
    """Steps that have a whole checkpoint, oldest first."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if (path / _MANIFEST).exists())


def load_checkpoint(policy: Policy, folder: Path, step: int) -> dict[str, Any]:
    """Restores a checkpoint and returns its state. Raises EthosError if a file isn't what was written."""
    directory = checkpoint_path(folder, step)
    try:
        hashes: dict[str, str] = json.loads((directory / _MANIFEST).read_text())
    except ValueError as error:
        raise _damaged(directory, _MANIFEST, "it can't be read") from error
    for name, expected in hashes.items():
        if not (directory / name).is_file():
            raise _damaged(directory, name, "it is gone")
        if file_digest(directory / name) != expected:
            raise _damaged(directory, name, "its hash differs")
    return policy.load(directory)


def _damaged(directory: Path, name: str, how: str) -> EthosError:
    return EthosError(
        f"{directory / name}: not as it was written ({how}); remove {directory} to go on from the checkpoint before it"
    )
