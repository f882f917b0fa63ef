"""What the whole process is set to: local compute, how it gives memory back, and where it finds modules."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

# of glibc's malloc.h: the heap is never trimmed, grows by 256 MiB, serves every size, and is one for all threads
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_KEEP_FREED_MEMORY = {_M_TRIM_THRESHOLD: -1, _M_TOP_PAD: 2**28, _M_MMAP_MAX: 0, _M_ARENA_MAX: 1}


def tune_process() -> None:
    """Sets how OpenMP's threads wait and how memory is had; what the user has set in the environment stays.

    To be called before torch is imported and threads are started. OpenMP's threads spin for a moment, then sleep:
    spinning on starves other processes, and sleeping at once leaves one thread waiting to be woken at each of a step's
    thousand regions. Weights lie in large pages. With glibc, freed memory stays with the process: otherwise each large
    tensor is new pages, zeroed at first touch, which is a quarter of a training step where page faults are dear, as in
    many virtual machines.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if _has_glibc():
        libc = ctypes.CDLL(None)
        for option, value in _KEEP_FREED_MEMORY.items():
            libc.mallopt(option, value)


def find_modules_in(folder: Path) -> None:
    """From now on modules in this folder can be imported: checks beside a spec, rewards beside a config."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def available_cores() -> int:
    """Cores that this process may run on, which on a shared machine are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_back_freed_memory() -> None:
    """Returns to the system what was freed and kept; for moments at which much was freed that won't be needed soon."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
