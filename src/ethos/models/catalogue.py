"""Names of models: what a user writes, and what is known of it before anything is fetched or loaded.

Nothing heavy is imported here, so that a dry run can size a run. Keys of endpoints are looked for and never kept.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ethos.errors import EthosError
from ethos.models.embedded import EMBEDDED, Weights
from ethos.models.shape import Shape, read_shape
from ethos.store.canonical import digest
from ethos.store.config.models import without_secrets

OPENAI_KEY = "OPENAI_API_KEY"
ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
ANTHROPIC_URL = "ANTHROPIC_BASE_URL"
"""The vendor's own variable for another server that speaks its protocol."""

FORMS = (
    "embedded:NAME, hf:ORG/NAME[@REVISION], a directory with config.json, a .gguf file, "
    "openai:BASE_URL#MODEL or anthropic:MODEL"
)
"""What a name may look like, for messages."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository on the Hugging Face hub. Without a revision: its main branch."""

    repository: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class Directory:
    """A Hugging Face directory of the user's."""

    path: Path


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A GGUF file of the user's."""

    path: Path


@dataclass(frozen=True, slots=True)
class Remote:
    """A model behind an endpoint. `base_url` is None for the vendor's own."""

    model: str
    base_url: str | None
    key_variable: str | None = None
    """The environment variable that holds its key. None: the vendor's own."""

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine, where no key is needed."""
        host = urlsplit(self.base_url or "").hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


Source = Weights | HubModel | Directory | GgufFile | Remote


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by the name that the user wrote. `shape` is None where only loading or asking would tell."""

    name: str
    kind: Literal["local", "openai", "anthropic"]
    source: Source
    shape: Shape | None = None

    @property
    def download_bytes(self) -> int | None:
        """What fetching it moves over the network; None where unknown."""
        if isinstance(self.source, Weights):
            return self.source.size_bytes
        return None if isinstance(self.source, HubModel) else 0


def require_weights(entry: Entry, part: str) -> None:
    """Raises EthosError for a model behind an endpoint, where one is needed that can be trained here."""
    if entry.kind != "local":
        raise EthosError(f"{part}: {entry.name} answers over the network and can't be trained; name a local model")


def resolve(name: str, base: Path, key_variable: str | None = None) -> Entry:
    """What a name stands for; paths are relative to `base`, and `key_variable` is as in `Remote`.

    Raises EthosError for a name of no known form, an embedded model or path that isn't there, and a missing key.
    """
    form, colon, rest = name.partition(":")
    if colon and form == "embedded":
        return _embedded(name, rest)
    if colon and form == "hf":
        return _hub(name, rest)
    if colon and form == "openai":
        return _openai(name, rest, key_variable)
    if colon and form == "anthropic":
        if not rest:
            raise EthosError(f"{name}: names no model; write anthropic:MODEL")
        _require_key(name, key_variable or ANTHROPIC_KEY)
        return Entry(name, "anthropic", Remote(rest, os.environ.get(ANTHROPIC_URL), key_variable))
    return _path(name, base)


def endpoint_fingerprint(entry: Entry) -> str:
    """The identity of a model whose weights can't be seen: 64 hex digits of vendor, address and model."""
    if not isinstance(entry.source, Remote):
        raise TypeError(f"{entry.name} is no endpoint")
    return digest([entry.kind, entry.source.base_url, entry.source.model])


def _embedded(name: str, wanted: str) -> Entry:
    if wanted in EMBEDDED:
        return Entry(name, "local", EMBEDDED[wanted], EMBEDDED[wanted].shape)
    nearest = difflib.get_close_matches(wanted, EMBEDDED, n=1, cutoff=0.0)[0]
    raise EthosError(
        f"{name}: there is no such embedded model; did you mean embedded:{nearest}? "
        f"There are {', '.join(f'embedded:{known}' for known in EMBEDDED)}; other forms are {FORMS}"
    )


def _hub(name: str, rest: str) -> Entry:
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", rest)
    if found is None:
        shown = without_secrets(name)
        raise EthosError(f"{shown}: not a repository of the hub; write hf:ORG/NAME or hf:ORG/NAME@REVISION")
    return Entry(name, "local", HubModel(found[1], found[2]))


def _openai(name: str, rest: str, key_variable: str | None) -> Entry:
    base_url, _, model = rest.partition("#")
    if (shown := without_secrets(name)) != name:
        raise EthosError(
            f"{shown}: holds a secret in its URL; leave the URL bare and put the key into {key_variable or OPENAI_KEY}"
        )
    try:
        url = urlsplit(base_url)
        is_web = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:  # an address in brackets that is none, or a port out of range
        is_web = False
    if not is_web or not model:
        shown = "openai:…" if "@" in name else name  # of a password with a # in it nothing is told apart here
        raise EthosError(f"{shown}: not an endpoint; write openai:BASE_URL#MODEL, as openai:http://localhost:8000/v1#m")
    source = Remote(model, base_url.rstrip("/"), key_variable)
    if key_variable is not None or not source.is_loopback:
        _require_key(name, key_variable or OPENAI_KEY)
    return Entry(name, "openai", source)


def _path(name: str, base: Path) -> Entry:
    shown = without_secrets(name)
    try:
        path = (base / Path(name).expanduser()).resolve()
        is_file, is_directory = path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, or the home of somebody unknown
        why = error.strerror if isinstance(error, OSError) else error  # its text would repeat the name
        raise EthosError(f"{shown!r}: can't be a path ({why}); write {FORMS}") from error
    if is_file and path.suffix == ".gguf":
        return Entry(name, "local", GgufFile(path))
    if is_directory:
        return Entry(name, "local", Directory(path), read_shape(path))
    where = f" at {path}" if shown == name else ""
    raise EthosError(f"{shown}: not a model's name, and no directory or .gguf file{where}; write {FORMS}")


def _require_key(name: str, variable: str) -> None:
    if not os.environ.get(variable):
        raise EthosError(f"{name}: needs a key, and {variable} isn't set; export it and run again")
