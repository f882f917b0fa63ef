"""Checkpoints of a run: sealed folders, kept by a retention rule.

A checkpoint at step N holds the state after step N.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.store.files import disk_errors_told, flush
from ethos.store.sealed_folders import is_sealed, require_intact, seal, unsealed
from ethos.training.policy import Policy


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
    with disk_errors_told(target):
        partial = unsealed(target)
        _require_room(folder, policy.state_bytes, step)
        policy.save(partial, {"step": step, **state})
        seal(partial, target)
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
    """Gives another folder the checkpoint of a step; files are never written again, so both may be one on the disk.

    What is there already gives way. Raises EthosError if a file isn't what was written.
    """
    require_intact(checkpoint_path(source, step), "name another step")
    with disk_errors_told(target):
        partial = unsealed(checkpoint_path(target, step))
        for path in checkpoint_path(source, step).iterdir():
            _link_or_copy(path, partial / path.name)
        shutil.rmtree(checkpoint_path(target, step), ignore_errors=True)
        partial.rename(checkpoint_path(target, step))
        flush(target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links
        shutil.copy2(source, target)
        flush(target)


def list_checkpoints(folder: Path) -> list[int]:
    """Steps that have a whole checkpoint, oldest first."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if is_sealed(path))


def load_checkpoint(policy: Policy, folder: Path, step: int) -> dict[str, Any]:
    """Restores a checkpoint and returns its state. Raises EthosError if a file isn't what was written."""
    directory = checkpoint_path(folder, step)
    require_intact(directory, f"remove {directory} to go on from the checkpoint before it")
    return policy.load(directory)
