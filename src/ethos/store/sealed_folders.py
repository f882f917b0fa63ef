"""Folders that are whole or not there: written beside, hashed, renamed into place, and checked when they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ethos.errors import EthosError
from ethos.store.files import file_digest, flush, write_atomically

_MANIFEST = "manifest.json"


def unsealed(target: Path) -> Path:
    """Where to write what is to become the folder `target`; what a killed writer has left there is gone."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def seal(partial: Path, target: Path) -> None:
    """Writes down the hash of each file, and puts the folder in its place, on the disk.

    What is there already gives way.
    """
    for path in partial.iterdir():
        flush(path)
    hashes = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
    write_atomically(partial / _MANIFEST, json.dumps(hashes, indent=1).encode())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    flush(target.parent)


def is_sealed(folder: Path) -> bool:
    """Whether it was written to its end."""
    return (folder / _MANIFEST).exists()


def require_intact(folder: Path, mend: str) -> None:
    """Raises EthosError, which ends with `mend`, if a file isn't what was sealed."""
    try:
        hashes: dict[str, str] = json.loads((folder / _MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise _damaged(folder / _MANIFEST, "it can't be read", mend) from error
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            raise _damaged(folder / name, "it is gone", mend)
        if file_digest(folder / name) != expected:
            raise _damaged(folder / name, "its hash differs", mend)


def _damaged(path: Path, how: str, mend: str) -> EthosError:
    return EthosError(f"{path}: not as it was written ({how}); {mend}")
