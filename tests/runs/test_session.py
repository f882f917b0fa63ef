"""A sitting takes the run as it was launched, or says why it can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.store.config import load_config
from runs.training_run import session_in


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_second_launch_takes_the_run_as_it_is(folder: Path) -> None:
    with session_in(folder) as session:
        session.records.add_metrics("main", 1, {"lr": 0.5})
    with session_in(folder) as session:
        assert session.records.metrics_at("main", 1) == {"lr": 0.5}


def test_the_config_on_disk_is_the_config_as_launched(folder: Path) -> None:
    with session_in(folder) as session:
        assert load_config(session.run.config_path).training == session.config.training


def test_another_config_is_refused(folder: Path) -> None:
    with session_in(folder):
        pass
    change(folder / "config.yaml", "lr: 0.003", "lr: 0.002")
    with pytest.raises(EthosError, match="exists with another config"), session_in(folder):
        pass


def test_a_spec_that_has_changed_is_refused(folder: Path) -> None:
    with session_in(folder):
        pass
    change(folder / "spec.md", "ten words", "eleven words")
    with (
        pytest.raises(EthosError, match=r"the spec has changed since this run was launched.*give the run another name"),
        session_in(folder),
    ):
        pass


def test_a_run_that_is_at_work_is_refused(folder: Path) -> None:
    with session_in(folder), pytest.raises(EthosError, match="is being written by"), session_in(folder):
        pass


def test_what_was_spent_in_earlier_sittings_counts_against_the_budget(folder: Path) -> None:
    from ethos.store.budget import BudgetSpent
    from ethos.store.ledger import ModelCall

    with (folder / "config.yaml").open("a") as file:
        file.write("budget: {tokens: 100}\n")
    with session_in(folder) as session:
        session.ledger.add([ModelCall("teacher", "t", "", 60, 30, False, 0.0, 0.0, "k")])
    with session_in(folder) as session, pytest.raises(BudgetSpent):
        session.budget.reserve(20, 0.0)
