"""Two sides that do the same work in turn: what a bench is made of.

A peer lives in an environment of its own, as a process that answers one line of JSON with another, so that its loading
is not timed and its packages don't meddle with ours. Rounds alternate: a machine that slows down slows both.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ethos.process import available_cores
from ethos.store.cache import cache_directory

PEERS = Path(__file__).with_name("peers")


def environment(name: str) -> Path:
    """The Python of a peer's own environment, made if it isn't there: what `peers/<name>.txt` lists, as it lists it.

    A line `# without: …` there names packages that come along and are taken out again.
    """
    wanted = PEERS / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]
    folder = cache_directory() / "bench" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
        lines = wanted.read_text(encoding="utf-8").splitlines()
        if without := [name for line in lines if line.startswith("# without:") for name in line.split()[2:]]:
            subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *without], check=True)
        done.touch()
    return python


class Peer:
    """A process of a peer's environment at rest until it is asked."""

    def __init__(self, name: str, environment_name: str | None = None, **variables: str) -> None:
        """Starts `peers/<name>_peer.py`."""
        command = [str(environment(environment_name or name)), str(PEERS / f"{name}_peer.py")]
        settings = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **variables}
        self._log = (cache_directory() / "bench" / f"{name}.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=settings
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """What it answers. Raises RuntimeError with the place of its log if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print to stdout as well
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"the peer ended with {self._process.wait()}; see {self._log.name}")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@dataclass
class Race:
    """Units of work a second, of us and of a peer, round by round."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    def to_dict(self, unit: str, target: float) -> dict[str, Any]:
        """JSON-ready."""
        ratios = [mine / other for mine, other in zip(self.ours, self.peer, strict=True)]
        ratio = statistics.median(ratios)
        return {
            "unit": unit,
            "ours": round(statistics.median(self.ours), 3),
            "peer": round(statistics.median(self.peer), 3),
            "ratio": round(ratio, 2),
            "ratios": [round(one, 2) for one in ratios],
            "target": target,
            "reached": ratio >= target,
        }


def race(ours: Callable[[int], float], peer: Callable[[int], float], rounds: int, warm_up: int = 1) -> Race:
    """Runs both in turn; each gets the number of the round and returns its rate. Rounds below 0 warm up."""
    found = Race()
    for number in range(-warm_up, rounds):
        mine, other = ours(number), peer(number)
        if number >= 0:
            found.ours.append(mine)
            found.peer.append(other)
            print(f"round {number}: {mine:.3g} against {other:.3g}", file=sys.stderr, flush=True)
    return found


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    flags: Sequence[str] = ()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        every = set(next(line for line in lines if line.startswith("flags")).split())
        flags = sorted(every & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"})
    except (OSError, StopIteration):
        pass
    return {"processor": model, "cores": available_cores(), "instructions": list(flags)}
