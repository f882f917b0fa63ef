from __future__ import annotations

from pathlib import Path

from ethos.store.sealed_readings import count_reading


def test_readings_are_counted_over_runs_and_a_resumed_one_counts_once(tmp_path: Path) -> None:
    assert count_reading(tmp_path, ["a", "b"], "entry of the first run", "first") == 1
    assert count_reading(tmp_path, ["a", "b"], "entry of the first run", "first") == 1
    assert count_reading(tmp_path, ["a", "b"], "entry of the second run", "second") == 2
    assert count_reading(tmp_path, ["c"], "entry of a third run", "third") == 1


def test_a_pool_that_shares_prompts_with_one_that_was_read_is_not_new(tmp_path: Path) -> None:
    count_reading(tmp_path, ["a", "b"], "entry of the first run", "first")
    assert count_reading(tmp_path, ["b", "c", "d"], "entry of the second run", "second") == 2
