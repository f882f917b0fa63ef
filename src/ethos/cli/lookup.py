"""From what a person types to the run that is meant."""

from __future__ import annotations

from pathlib import Path

from ethos.errors import EthosError
from ethos.store.run_directory import RunDirectory, holds_run

RUNS = Path("runs")
NAMED_AT_MOST = 5


def find_run(name: str) -> RunDirectory:
    """A run by its name in `runs/`, or by its folder. Raises EthosError if there is none, or nobody can look."""
    for path in (RUNS / name, Path(name)):
        if holds_run(path):
            return RunDirectory(path)
    names = [run.name for run in all_runs()]
    there = f"{RUNS}/ holds {', '.join(names[:NAMED_AT_MOST])}" if names else f"{RUNS}/ holds none yet"
    there += f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    raise EthosError(f"there is no run named {name} ({there}); name one of them, or the folder of a run")


def all_runs() -> list[RunDirectory]:
    """The runs in `runs/`, by name."""
    return [RunDirectory(path.parent) for path in sorted(RUNS.glob("*/config.yaml"))]
