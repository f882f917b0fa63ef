"""Writing files so that a reader meets the old content, the new content, or none: never a half of it.

What a disk or its permissions refuse is told here in one sentence; any other error may be a bug and stays as it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ethos.errors import EthosError

_MENDS = {
    errno.ENOSPC: "free some space there, and run again",
    errno.EDQUOT: "free some of what you may use there, and run again",
    errno.EACCES: "get the permission or name another place, and run again",
    errno.EPERM: "get the permission or name another place, and run again",
    errno.EROFS: "make it writable or name another place, and run again",
    errno.EIO: "check that disk, and run again",
}
_NUMBER_IN_RUST = re.compile(r"\(os error (\d+)\)")  # as safetensors and tokenizers tell it, in errors of their own


def disk_error(error: Exception, path: Path | None = None) -> EthosError | None:
    """The sentence for what a disk or its permissions refused; None for any other error.

    `path` is what was written or read, if the error doesn't name it.
    """
    place: object = path
    if isinstance(error, OSError):
        number, place = error.errno, path or error.filename
    else:
        told = _NUMBER_IN_RUST.search(str(error))
        number = int(told[1]) if told else None
    if number not in _MENDS:
        return None
    where = "" if place is None else f"{place}: "
    return EthosError(f"{where}{os.strerror(number)}; {_MENDS[number]}")


@contextmanager
def disk_errors_told(path: Path) -> Iterator[None]:
    """Raises EthosError that names `path` if a disk or its permissions refuse what the block does."""
    try:
        yield
    except Exception as error:
        told = disk_error(error, path)
        if told is None:
            raise
        raise told from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, flushes to the disk, renames into place. Survives `kill -9` and a loss of power.

    Folders above it are made. A killed writer leaves at most a hidden `.tmp` file, which nothing reads.
    Raises EthosError if the disk is full or broken, or nobody may write there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with disk_errors_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        flush(path.parent)


def flush(path: Path) -> None:
    """Puts a file's content, or a folder's renames and links, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """The file's SHA-256, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
