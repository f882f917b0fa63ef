"""From a catalogue entry to a Hugging Face directory on this machine: found, or fetched and converted once."""

from __future__ import annotations

import re
from pathlib import Path

from filelock import FileLock

from ethos.errors import EthosError
from ethos.models.catalogue import Directory, Entry, GgufFile, HubModel, Remote
from ethos.models.conversion import CONVERSION_PARTS, convert_gguf, converted_directory, converted_fingerprint
from ethos.models.embedded import Weights, fetch
from ethos.models.fingerprints import directory_fingerprint, file_sha256
from ethos.models.hub import hub_directory
from ethos.progress import Progress, QuietProgress
from ethos.store.cache import cache_directory


def local_directory(entry: Entry, ui: Progress | None = None) -> Path:
    """The directory of a local model, made first if it isn't there; another process that makes it is waited for.

    Raises EthosError if its weights can't be had, or if the model is behind an endpoint.
    """
    source = entry.source
    if isinstance(source, Directory):
        return source.path
    if isinstance(source, HubModel):
        return hub_directory(entry.name, source, ui or QuietProgress())
    if isinstance(source, Remote):
        raise EthosError(f"{entry.name}: answers over the network and has no weights here; name a local model")
    models = cache_directory() / "models"
    if isinstance(source, GgufFile):
        name = re.sub(r"[^A-Za-z0-9._-]", "-", source.path.stem)
        sha256 = file_sha256(source.path, cache_directory())
    else:
        name, sha256 = source.name, source.sha256
    directory = converted_directory(models, name, sha256)
    if directory.is_dir():
        return directory
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        if not directory.is_dir():
            if isinstance(source, GgufFile):
                _convert(entry.name, source.path, directory, ui)
            else:
                _fetch_and_convert(source, directory, ui)
    return directory


def fingerprint(entry: Entry, directory: Path) -> str:
    """Content hash of a local model, 64 hex digits; `directory` is what `local_directory` gave."""
    if isinstance(entry.source, Weights):
        return converted_fingerprint(entry.source.sha256)
    if isinstance(entry.source, GgufFile):
        return converted_fingerprint(file_sha256(entry.source.path, cache_directory()))
    return directory_fingerprint(directory, cache_directory())


def _fetch_and_convert(weights: Weights, directory: Path, ui: Progress | None) -> None:
    gguf = directory.with_name(f"{weights.name}-{weights.sha256[:12]}.gguf")
    if not gguf.is_file():
        fetch(weights, gguf, ui)
    _convert(weights.name, gguf, directory, ui)
    gguf.unlink()


def _convert(name: str, gguf: Path, directory: Path, ui: Progress | None) -> None:
    with (ui or QuietProgress()).stage(f"unpacking {name}, once", CONVERSION_PARTS, "parts") as bar:
        convert_gguf(gguf, directory, bar.advance)
