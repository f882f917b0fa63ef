import json
import os
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.models.fingerprints import directory_fingerprint, file_sha256


def test_the_same_content_elsewhere_has_the_same_fingerprint(tiny_directory: Path, tmp_path: Path) -> None:
    first = directory_fingerprint(tiny_directory, tmp_path / "cache")
    moved = tiny_directory.rename(tmp_path / "moved")
    assert directory_fingerprint(moved, tmp_path / "cache") == first


@pytest.mark.parametrize("name", ["model-1.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_whatever_shapes_an_answer_changes_the_fingerprint(name: str, tiny_directory: Path, tmp_path: Path) -> None:
    before = directory_fingerprint(tiny_directory, tmp_path / "cache")
    with (tiny_directory / name).open("ab") as file:
        file.write(b" ")
    assert directory_fingerprint(tiny_directory, tmp_path / "cache") != before


def test_a_file_is_read_again_only_when_size_or_time_changed(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    first = file_sha256(path, cache)
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_sha256(path, cache) == first
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert file_sha256(path, cache) != first


def test_a_damaged_note_is_written_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    first = file_sha256(path, cache)
    (note,) = (cache / "hashes").iterdir()
    note.write_text("{")
    assert file_sha256(path, cache) == first
    assert json.loads(note.read_text())["sha256"] == first


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match="safetensors"):
        directory_fingerprint(tmp_path, tmp_path)
