import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ethos.errors import EthosError
from ethos.store.files import disk_error, disk_errors_told, write_atomically

REWRITE = """
import sys
from pathlib import Path
from ethos.store.files import write_atomically
while True:
    for letter in (b"a", b"b"):
        write_atomically(Path(sys.argv[1]), letter * 300_000)
        print(letter.decode())
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, kill_after: Callable[[str, Path, int], list[str]]
) -> None:
    path = tmp_path / "deep" / "file"
    kill_after(REWRITE, path, 7)
    assert path.read_bytes() in (b"a" * 300_000, b"b" * 300_000)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        write_atomically(target, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_disk_refuses_is_a_sentence_that_names_the_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(EthosError, match=f"^{tmp_path / 'file'}: {os.strerror(number)}; .*, and run again$"):
        write_atomically(tmp_path / "file", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_full_device_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(EthosError, match=r"^there: No space left on device; free some space"),
        disk_errors_told(Path("there")),
    ):
        Path("/dev/full").write_bytes(b"x" * 100)


def test_what_a_library_in_rust_says_of_the_disk_is_understood_and_its_other_errors_stay() -> None:
    full = disk_error(SafetensorError("I/O error: No space left on device (os error 28)"), Path("there"))
    assert str(full) == "there: No space left on device; free some space there, and run again"
    assert disk_error(SafetensorError("No such file or directory (os error 2)"), Path("there")) is None
    assert disk_error(ValueError("28"), Path("there")) is None


def test_whoever_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
