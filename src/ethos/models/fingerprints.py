"""Which weights these are: hashes of content, remembered by size and time of change so that they are read once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ethos.errors import EthosError
from ethos.store.canonical import digest
from ethos.store.files import write_atomically

_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")


def directory_fingerprint(directory: Path, cache: Path) -> str:
    """64 hex digits over weights, config, tokenizer and chat template of a Hugging Face directory.

    Raises EthosError if it holds no safetensors.
    """
    paths = sorted(path for pattern in _PATTERNS for path in directory.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise EthosError(f"{directory}: holds no .safetensors file; save the model's weights there as safetensors")
    return digest([[path.name, file_sha256(path, cache)] for path in paths])


def file_sha256(path: Path, cache: Path) -> str:
    """The file's SHA-256; a file of the same path, size and time of change is not read again."""
    path = path.resolve()
    status = path.stat()
    known = {"path": str(path), "size_bytes": status.st_size, "changed_ns": status.st_mtime_ns}
    note = cache / "hashes" / f"{digest(str(path))[:32]}.json"
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        if {name: noted[name] for name in known} == known:
            return str(noted["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never hashed, or the note is damaged: hash it now
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomically(note, json.dumps({**known, "sha256": sha256}).encode())
    return sha256
