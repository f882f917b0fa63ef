import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.cli.conftest import CONFIG, HEAVY, Ethos, imported_by

from ethos import __version__
from ethos.cli import main as command_line
from ethos.errors import EthosError
from ethos.store.run_directory import RunDirectory

COMMANDS = ("run", "chat", "status", "journal", "adjust", "pause", "resume", "trace", "report", "knobs", "models")


def test_help_loads_nothing_heavy() -> None:
    imported = imported_by("--help")
    assert "typer" in imported
    assert imported.isdisjoint({*HEAVY, "pydantic", "yaml", "rich"})


def test_help_names_every_command(ethos: Ethos) -> None:
    shown = ethos("--help")
    assert shown.code == 0
    assert all(f"\n  {command} " in shown.out for command in COMMANDS)


def test_version(ethos: Ethos) -> None:
    assert ethos("--version").out == f"ethos {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["run"], ["adjust", "wren"], ["status"], ["journal", "wren", "--fast"], ["models", "fetch"],
     ["chat", "wren", "--temperature", "warm"], ["chat", "wren", "--max-tokens", "0"]],
)  # fmt: skip
def test_a_wrong_usage_ends_with_2(ethos: Ethos, arguments: list[str]) -> None:
    ended = ethos(*arguments)
    assert ended.code == 2
    assert "Error: " in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nowhere.yaml"],
        ["run", "nowhere.yaml", "--dry-run"],
        ["chat", "nobody"],
        ["chat", "embedded:nobody"],
        ["chat", "hf:nobody"],
        ["chat", "openai:nowhere"],
        ["chat", "anthropic:opus"],
        ["status", "nowhere"],
        ["status", "m" * 300],
        ["journal", "nowhere"],
        ["adjust", "nowhere", "lr=1e-5", "--why", "x"],
        ["pause", "nowhere", "--why", "x"],
        ["resume", "nowhere", "--why", "x"],
        ["trace", "abc"],
        ["trace", "abc", "--run", "nowhere"],
        ["report", "nowhere"],
        ["models", "fetch", "nowhere"],
        ["models", "fetch", "embedded:nobody"],
        ["models", "fetch", "openai:http://localhost:1/v1#m"],
        ["status", "launched"],
        ["journal", "launched"],
        ["report", "launched"],
        ["trace", "abc", "--run", "launched"],
        ["adjust", "launched", "lr=1e-5", "--why", "x"],
        ["status", "broken"],
        ["journal", "broken", "--json"],
        ["pause", "broken", "--why", "x"],
        ["report", "broken"],
        ["report", "empty"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence_and_exit_code_1(ethos: Ethos, folder: Path, arguments: list[str]) -> None:
    RunDirectory.create(folder / "runs" / "launched", "name: launched\nspec: spec.md\n")
    broken = RunDirectory.create(folder / "runs" / "broken", "name: [\n")
    broken.database_path.write_bytes(b"no database")
    broken.report_json.write_text("{")
    RunDirectory.create(folder / "runs" / "empty", "name: empty\nspec: spec.md\n").report_json.write_text("{}")
    ended = ethos(*arguments)
    assert ended.code == 1
    assert [line.startswith("error: ") for line in ended.err.splitlines()].index(True) == ended.err.count("\n") - 1
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no fields"),
        (b"\xff\xfe", "can't be read as text"),
        (b"name: [", "not valid YAML"),
        (b"- a\n- b\n", "holds no fields"),
        (b"name: wren\n", "spec"),
        (b"name: ../wren\nspec: s.md\n", "name"),
        (b"name: wren\nspec: s.md\ntraining: {stpes: 3}\n", "training.stpes is not a field"),
        (b"name: wren\nspec: s.md\nknobs: {lr: 3}\n", "knobs.lr"),
        (b"name: wren\nspec: s.md\nsynthesis: {demonstrations: {draws: 8}}\n", "raise max_draws, or lower draws"),
        (b"name: wren\nspec: nowhere.md\n", "nowhere.md"),
        (b'name: wren\nspec: "s\\0.md"\n', "spec: holds a NUL"),
        (b"name: wren\nspec: " + b"[" * 3000, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_a_bad_config_is_named_with_its_field(
    ethos: Ethos, folder: Path, content: bytes, said: str, flags: list[str]
) -> None:
    (folder / "config.yaml").write_bytes(content)
    ended = ethos("run", "config.yaml", *flags)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert not (folder / "runs").exists()


def test_an_error_of_several_lines_is_shown_as_one(ethos: Ethos, monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_with(monkeypatch, EthosError("spec.md: broken\n  at line 3"))
    ended = ethos("broken")
    assert (ended.code, ended.err) == (1, "error: spec.md: broken at line 3\n")


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get
)
def test_what_a_disk_or_its_permissions_refuse_is_one_sentence(
    ethos: Ethos, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _fail_with(monkeypatch, OSError(number, os.strerror(number), "runs/wren/rows"))
    ended = ethos("broken")
    assert ended.code == 1
    assert ended.err.startswith(f"error: runs/wren/rows: {os.strerror(number)}; ")
    assert ended.err.endswith(", and run again\n")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("a bug"), FileNotFoundError(2, "No such file", "x"), OSError("a bug"), BlockingIOError(11, "x")],
)
def test_a_bug_keeps_its_traceback(ethos: Ethos, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _fail_with(monkeypatch, error)
    with pytest.raises(type(error)):
        ethos("broken")


def test_a_traceback_never_shows_the_values_of_variables() -> None:
    code = (
        "import sys; from ethos.cli import knobs, main\n"
        "def broken():\n    key = 'sk' + '-secret'\n    return 1 / 0\n"
        "knobs.show_knobs = broken; sys.argv = ['ethos', 'knobs']; main.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "sk-secret" not in ended.stderr


def test_an_interrupted_run_says_how_to_go_on(ethos: Ethos, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ethos.runs import launch

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupted)
    (folder / "config.yaml").write_text(CONFIG)
    ended = ethos("run", "config.yaml")
    assert ended.code == 130
    assert "run the same command to go on" in ended.err


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "ethos", "knobs"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert ended.stderr == ""


def test_openmp_threads_sleep_after_a_moment_unless_the_user_says_otherwise(
    ethos: Ethos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    ethos("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "20000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    ethos("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def broken() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    monkeypatch.setattr(command_line, "app", app)
