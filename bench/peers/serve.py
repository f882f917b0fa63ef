"""A peer's side of the line protocol: one line of JSON in, one out; and what both sides measure alike.

Standard library alone: it runs in every peer's environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def serve(jobs: Mapping[str, Callable[..., Any]]) -> None:
    """Answers each line with what the job of its name returns."""
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        job = json.loads(line)
        answer = jobs[job.pop("job")](**job)
        out.write(json.dumps(answer) + "\n")
        out.flush()


def seconds(function: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def reset_peak() -> int:
    """Forgets the highest memory of the process so far; returns what it holds now, in bytes. Linux alone."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS:")


def peak() -> int:
    """The highest memory since then, in bytes."""
    return _status("VmHWM:")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
