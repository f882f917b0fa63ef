"""Times `ethos --help` over 10 starts of a process, after one that warms the disk: `python bench/startup.py`. JSON."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

STARTS = 10
LIMIT_S = 0.5


def start_s() -> float:
    """Seconds from the start of a process to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ethos", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measures and prints."""
    start_s()
    seconds = sorted(start_s() for _ in range(STARTS))
    median_s = statistics.median(seconds)
    result = {
        "benchmark": "startup",
        "command": "ethos --help",
        "starts": STARTS,
        "median_s": round(median_s, 3),
        "fastest_s": round(seconds[0], 3),
        "slowest_s": round(seconds[-1], 3),
        "limit_s": LIMIT_S,
        "within_limit": median_s < LIMIT_S,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
