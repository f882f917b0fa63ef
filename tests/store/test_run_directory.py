import errno
import os
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.store.run_directory import RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from ethos.store.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock():
    print("held")
    time.sleep(60)
"""


def test_a_config_is_written_once(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "wren", "name: wren\n")
    again = RunDirectory.create(tmp_path / "wren", "name: wren\n")
    assert again.config_path.read_text() == "name: wren\n"
    with pytest.raises(EthosError, match=r"another config.*another name, or remove"):
        RunDirectory.create(tmp_path / "wren", "name: wren\nseed: 1\n")
    assert run.config_path.read_text() == "name: wren\n"
    assert run.name == "wren"


def test_where_the_files_of_a_config_lie_may_change_and_is_kept_as_it_was(tmp_path: Path) -> None:
    launched = "name: wren\nspec: /here/spec.md\ncalibration: null\n"
    RunDirectory.create(tmp_path / "wren", launched)
    again = RunDirectory.create(tmp_path / "wren", "name: wren\nspec: /there/spec.md\ncalibration: /there/c.jsonl\n")
    assert again.config_path.read_text() == launched
    with pytest.raises(EthosError, match="another config"):
        RunDirectory.create(tmp_path / "wren", "name: wren\nspec: /here/spec.md\nseed: 1\n")


def test_a_config_that_was_damaged_is_another_config(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "wren", "name: wren\n")
    run.config_path.write_bytes(b"\xff: [")
    with pytest.raises(EthosError, match="another config"):
        RunDirectory.create(tmp_path / "wren", "name: wren\n")


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EthosError, match="can't be made"):
        RunDirectory.create(tmp_path / "file" / "run", "")


def test_only_a_run_is_found(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match="no run lies there"):
        RunDirectory.find(tmp_path)


def test_a_second_writer_is_told_who_the_first_is(run: RunDirectory) -> None:
    with subprocess.Popen([sys.executable, "-u", "-c", HOLD, str(run.path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        holder = run.holder()
        assert holder is not None
        assert holder.pid == child.pid
        with pytest.raises(EthosError, match=f"is being written by process {child.pid}; "), run.lock():
            pass
        child.kill()
        child.wait()
    assert run.holder() is None
    with run.lock():
        pass


def test_a_lock_that_may_not_be_looked_at_is_one_sentence(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    assert run.holder() is None
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(EthosError, match=r"run\.lock: Permission denied; get the permission"):
        run.holder()


def test_a_lock_that_a_full_disk_does_not_take_is_one_sentence(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(FileIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Full(path, "ab+"))
    with pytest.raises(EthosError, match=r"run\.lock: No space left on device; free some space"), run.lock():
        pass


def test_a_disk_that_locks_no_file_is_one_sentence(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: object, flags: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with run.lock():
        pass
    monkeypatch.setattr("fcntl.flock", refused)
    told = r"run\.lock: No locks available; files can't be locked there"
    with pytest.raises(EthosError, match=told), run.lock():
        pass
    with pytest.raises(EthosError, match=told):
        run.holder()


def test_the_lock_is_free_after_a_kill(run: RunDirectory, kill_after: Callable[[str, Path, int], list[str]]) -> None:
    assert kill_after(HOLD, run.path, 1) == ["held"]
    with run.lock():
        holder = RunDirectory(run.path).holder()
        assert holder is not None
        assert holder.pid == os.getpid()


def test_two_objects_of_one_process_exclude_each_other(run: RunDirectory) -> None:
    with run.lock(), pytest.raises(EthosError, match=f"process {os.getpid()}"), RunDirectory(run.path).lock():
        pass


def test_the_database_is_written_by_the_holder_only(run: RunDirectory) -> None:
    with pytest.raises(RuntimeError, match="holder"):
        run.open_database()
    with run.lock(), run.open_database():
        pass
    with pytest.raises(RuntimeError, match="holder"):
        run.open_database()
    with run.read_database() as database:
        assert [row["name"] for row in database.query("SELECT name FROM branches")] == ["main"]
