from collections.abc import Callable
from pathlib import Path

import pytest

from ethos.store.files import write_atomically

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


def test_whoever_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
