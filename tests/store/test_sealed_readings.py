from __future__ import annotations

from pathlib import Path

from ethos.store.sealed_readings import count_reading


def test_a_pools_readings_are_counted_over_runs_and_a_resumed_one_counts_once(tmp_path: Path) -> None:
    assert count_reading(tmp_path, "pool", "entry of the first run", "first") == 1
    assert count_reading(tmp_path, "pool", "entry of the first run", "first") == 1
    assert count_reading(tmp_path, "pool", "entry of the second run", "second") == 2
    assert count_reading(tmp_path, "another pool", "entry of a third run", "third") == 1
