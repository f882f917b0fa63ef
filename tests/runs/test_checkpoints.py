"""Checkpoints of a tiny random model: whole or not there, and exactly what was saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from ethos.errors import EthosError
from ethos.runs.checkpoints import (
    Retention,
    checkpoint_path,
    copy_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from ethos.store.config.run import load_config
from ethos.training.policy import Policy
from runs.training_run import policy_of


@pytest.fixture
def policy(folder: Path) -> Policy:
    return policy_of(folder, load_config(folder / "config.yaml"))


def test_a_checkpoint_comes_back_as_it_was_saved(policy: Policy, tmp_path: Path) -> None:
    saved = {name: tensor.clone() for name, tensor in policy.optimizer.state().items()}
    save_checkpoint(policy, tmp_path / "c", 4, {"cursors": {"documents": {"version": "v", "taken": 3}}}, Retention(2))
    noise = torch.get_rng_state()
    for tensor in policy.optimizer.state().values():
        tensor.add_(1)
    torch.rand(3)
    state = load_checkpoint(policy, tmp_path / "c", 4)
    assert state == {"step": 4, "cursors": {"documents": {"version": "v", "taken": 3}}}
    assert all(torch.equal(tensor, saved[name]) for name, tensor in policy.optimizer.state().items())
    assert torch.equal(torch.get_rng_state(), noise)


def test_only_the_newest_are_kept(policy: Policy, tmp_path: Path) -> None:
    for step in (5, 10, 15, 100):
        save_checkpoint(policy, tmp_path, step, {}, Retention(2))
    assert list_checkpoints(tmp_path) == [15, 100]
    assert not checkpoint_path(tmp_path, 5).exists()


def test_those_that_are_kept_for_good_stay_beside_the_newest() -> None:
    kept: list[int] = []
    for step in range(5, 60, 5):
        kept.append(step)
        for gone in Retention(2, every=20).gone(kept):
            kept.remove(gone)
    assert kept == [20, 40, 50, 55]


def test_a_copied_checkpoint_outlives_its_source(policy: Policy, tmp_path: Path) -> None:
    save_checkpoint(policy, tmp_path / "a", 4, {"x": 1}, Retention(1))
    copy_checkpoint(tmp_path / "a", tmp_path / "b", 4)
    save_checkpoint(policy, tmp_path / "a", 8, {}, Retention(1))
    assert list_checkpoints(tmp_path / "a") == [8]
    assert list_checkpoints(tmp_path / "b") == [4]
    assert load_checkpoint(policy, tmp_path / "b", 4) == {"step": 4, "x": 1}


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_a_half_written_one_is_not_listed_and_is_written_over(policy: Policy, tmp_path: Path) -> None:
    save_checkpoint(policy, tmp_path, 4, {}, Retention(2))
    checkpoint_path(tmp_path, 4).rename(tmp_path / ".step-000008.partial")
    without_manifest = checkpoint_path(tmp_path, 6)
    without_manifest.mkdir()
    (without_manifest / "state.safetensors").write_bytes(b"half")
    assert list_checkpoints(tmp_path) == []
    save_checkpoint(policy, tmp_path, 6, {}, Retention(2))
    save_checkpoint(policy, tmp_path, 8, {}, Retention(2))
    assert list_checkpoints(tmp_path) == [6, 8]


def test_a_full_disk_is_told_before_anything_is_written(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(policy, tmp_path, 4, {}, Retention(1))
    written = sum(file.stat().st_size for file in checkpoint_path(tmp_path, 4).iterdir())
    assert policy.state_bytes <= written < policy.state_bytes + 100_000
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=policy.state_bytes - 1))
    with pytest.raises(EthosError, match="free some and run the same command"):
        save_checkpoint(policy, tmp_path, 8, {}, Retention(1))
    assert list_checkpoints(tmp_path) == [4]


@pytest.mark.parametrize("full", [OSError(28, "No space left on device"), SafetensorError("I/O error (os error 28)")])
def test_a_disk_that_others_fill_while_a_checkpoint_is_written_is_one_sentence(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Exception
) -> None:
    save_checkpoint(policy, tmp_path, 4, {}, Retention(1))

    def fails(*_: object, **__: object) -> None:
        raise full

    monkeypatch.setattr("ethos.training.policy.save_file", fails)
    with pytest.raises(EthosError, match=r"step-000008: No space left on device; free some space there"):
        save_checkpoint(policy, tmp_path, 8, {}, Retention(1))
    assert list_checkpoints(tmp_path) == [4]


@pytest.mark.parametrize(
    ("name", "damage"),
    [("state.safetensors", "flipped"), ("state.safetensors", "cut"), ("state.safetensors", "gone"),
     ("manifest.json", "cut"), ("manifest.json", "flipped")],
)  # fmt: skip
def test_a_damaged_file_is_an_error_that_names_it(policy: Policy, tmp_path: Path, name: str, damage: str) -> None:
    save_checkpoint(policy, tmp_path, 4, {}, Retention(2))
    path = checkpoint_path(tmp_path, 4) / name
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with pytest.raises(EthosError, match=r"step-000004.*: not as it was written"):
        load_checkpoint(policy, tmp_path, 4)
