from pathlib import Path

import pytest

from ethos.cli.lookup import all_runs, find_run
from ethos.errors import EthosError
from ethos.store.run_directory import RunDirectory


def make(path: Path) -> RunDirectory:
    return RunDirectory.create(path, "name: any\nspec: spec.md\n")


def test_a_run_is_found_by_name_by_relative_and_by_absolute_path(folder: Path) -> None:
    make(folder / "runs" / "wren")
    make(folder / "elsewhere" / "tern")
    assert find_run("wren").path == Path("runs/wren")
    assert find_run("runs/wren").path == Path("runs/wren")
    assert find_run("elsewhere/tern").path == Path("elsewhere/tern")
    assert find_run(str(folder / "elsewhere" / "tern")).name == "tern"


def test_a_run_that_is_not_there_is_answered_with_those_that_are(folder: Path) -> None:
    with pytest.raises(EthosError, match=r"no run named wren \(runs/ holds none yet\)"):
        find_run("wren")
    for number in range(7):
        make(folder / "runs" / f"r{number}")
    with pytest.raises(EthosError, match=r"runs/ holds r0, r1, r2, r3, r4 and 2 more"):
        find_run("wren")


def test_folders_without_a_config_are_no_runs(folder: Path) -> None:
    make(folder / "runs" / "wren")
    (folder / "runs" / "notes").mkdir()
    assert [run.name for run in all_runs()] == ["wren"]
    with pytest.raises(EthosError):
        find_run("notes")


def test_a_name_that_is_too_long_is_one_sentence() -> None:
    with pytest.raises(EthosError, match=r"mmm: can't be looked at \(File name too long\); name a run in runs/"):
        find_run("m" * 300)


def test_a_run_in_a_folder_that_may_not_be_searched_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(EthosError, match=r"runs/wren: can't be looked at \(Permission denied\)"):
        find_run("wren")
