"""Runs inside the sandbox, as a model's program would, and tries to get out: what each attempt got, as text."""

import os
import socket
import time
from typing import Any


def attempts(seen: dict[str, Any], memory_bytes: int, processes: int, disk_bytes: int) -> dict[str, str]:
    """What worked of what must not, by what it would have been good for; empty where the sandbox holds."""
    tries = {
        "read a file outside": lambda: open(seen["file"]).read(),
        "list a folder outside": lambda: (
            [os.listdir(folder) for folder in seen["folders"] if _is_there(folder)] or None
        ),
        "read the environment": lambda: os.environ[seen["variable"]],
        "read the kernel's view of processes": lambda: os.listdir("/proc"),
        "write to the system": lambda: None if os.statvfs("/usr").f_flag & os.ST_RDONLY else "it is writable",
        "write beside its own folder": lambda: open("/ethos", "w"),
        "connect to a port of this machine": lambda: _connect(socket.AF_INET, ("127.0.0.1", seen["port"])),
        "connect to a socket of this machine": lambda: _connect(socket.AF_UNIX, "\0" + seen["socket"]),
        "signal a process outside": lambda: _signal(seen["process"]),
        "make a namespace of its own": lambda: _clone(0x10000000),
        "have more memory than its limit": lambda: len(bytearray(memory_bytes)),
        "keep memory that no limit counts": lambda: os.memfd_create("kept"),
        "start more processes than its limit": lambda: _fork(processes),
        "write more than its limit": lambda: _write(disk_bytes),
    }
    return {name: got for name, attempt in tries.items() if (got := _tried(attempt)) is not None}


def _tried(attempt: Any) -> str | None:
    try:
        got = attempt()
    except (OSError, KeyError, MemoryError, ImportError):
        return None
    return None if got is None else repr(got)[:80]


def _is_there(folder: str) -> bool:
    return os.path.isdir(folder)


def _connect(family: int, address: Any) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(1)
        one.connect(address)
    return "connected"


def _signal(process: int) -> str | None:
    if process <= 100:  # there is one of that number inside
        return None
    os.kill(process, 0)
    return "it is there"


def _clone(flags: int) -> str | None:
    """By the bare call: on x86-64 and ARM 64 the flags come first."""
    import ctypes

    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    made = ctypes.CDLL(None).syscall(number, ctypes.c_long(flags | 17), 0, 0, 0, 0)
    if made == 0:
        os._exit(0)
    return "made one" if made > 0 else None


def _fork(most: int) -> str:
    for _ in range(most):
        if os.fork() == 0:
            time.sleep(60)
    return "all were started"


def _write(most: int) -> str:
    names = [f"/tmp/ethos-self-test-{number}" for number in range(4)]
    try:
        for name in names:
            with open(name, "wb") as file:
                for _ in range(4):
                    file.write(bytes(most // 8))
    finally:
        for name in names:
            if os.path.exists(name):
                os.remove(name)
    return "all was written"
