"""What is run, how much it may take, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ethos.errors import EthosError

Ending = Literal["ran", "crashed", "cpu", "wall clock", "output"]
"""`ran`: it came to its end and told its results. The last three are limits that it met."""


class SandboxUnavailable(EthosError):
    """Code can't be run here in a sandbox, so it is not run at all; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program."""

    cpu_s: int = 5
    wall_s: float = 10.0
    memory_bytes: int = 2**29  # of each process, as address space
    processes: int = 8  # at once, the sandbox's own two among them
    open_files: int = 64
    disk_bytes: int = 2**24  # of all that it writes
    output_bytes: int = 2**20  # of each of its two outputs


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `told` is what its harness wrote, still to be read, and "" unless it ran."""

    ending: Ending
    told: str
    stderr: str  # what it printed, on whichever output
    exit_code: int
    seconds: float


class Language(Protocol):
    """How programs of a language are run. One file a language, and its harness beside it.

    A harness reads one JSON object (`calls.py`) from its standard input, and writes one as the last line of its output.
    """

    name: str
    title: str  # as people call it
    opening: str  # what a program begins with; "" if with nothing

    def holds(self, value: Any) -> bool:
        """Whether it has this value, as arguments and results cross (`values.py`)."""
        ...

    def missing(self) -> str | None:
        """What has to be installed before it can run, and how; None if nothing."""
        ...

    def command(self) -> list[str]:
        """Runs the harness, by the paths inside the sandbox."""
        ...

    def files(self) -> Mapping[str, Path]:
        """The harness and what it reads: places inside the sandbox, and the files that are copied there."""
        ...

    def folders(self) -> Mapping[str, Path]:
        """What it needs beside /usr: places inside the sandbox, and the folders that are seen there."""
        ...
