"""From a catalogue entry to a Hugging Face directory on this machine: found, or fetched and converted once."""

from __future__ import annotations

import re
from pathlib import Path

from filelock import FileLock

from ethos.errors import EthosError
from ethos.models.catalogue import Directory, Entry, GgufFile, HubModel, Remote
from ethos.models.conversion import convert_gguf, converted_directory, converted_fingerprint
from ethos.models.embedded import Weights, fetch
from ethos.models.fingerprints import directory_fingerprint, file_sha256
from ethos.progress import Progress, QuietProgress
from ethos.store.cache import cache_directory

_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")
_HUB_TIMEOUT_S = 5.0


def local_directory(entry: Entry, ui: Progress | None = None) -> Path:
    """The directory of a local model, made first if it isn't there; another process that makes it is waited for.

    Raises EthosError if its weights can't be had, or if the model is behind an endpoint.
    """
    source = entry.source
    if isinstance(source, Directory):
        return source.path
    if isinstance(source, HubModel):
        return _hub_directory(entry.name, source, ui)
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
    return directory_fingerprint(directory, cache_directory())


def _fetch_and_convert(weights: Weights, directory: Path, ui: Progress | None) -> None:
    gguf = directory.with_name(f"{weights.name}-{weights.sha256[:12]}.gguf")
    if not gguf.is_file():
        fetch(weights, gguf, ui)
    _convert(weights.name, gguf, directory, ui)
    gguf.unlink()


def _convert(name: str, gguf: Path, directory: Path, ui: Progress | None) -> None:
    with (ui or QuietProgress()).stage(f"unpacking {name}, once"):
        convert_gguf(gguf, directory)


def _hub_directory(name: str, source: HubModel, ui: Progress | None) -> Path:
    """The hub's own cache holds it; a snapshot that is whole there needs no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError
    from huggingface_hub.utils import disable_progress_bars

    wanted = {"revision": source.revision, "allow_patterns": list(_HUB_FILES)}
    disable_progress_bars()
    try:
        with (ui or QuietProgress()).stage(f"fetching {name} from the hub", 1, "models") as bar:
            found = snapshot_download(source.repository, etag_timeout=_HUB_TIMEOUT_S, **wanted)
            bar.advance()
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:  # RuntimeError: hf_xet's transfer broke off
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EthosError(
            f"{name}: can't be fetched from the hub ({reason}); "
            "check the name, your access and the network, or name a local directory"
        ) from error
    return Path(found)
