"""An empty folder to stand in, the command as a person gets it, and runs as they lie on disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ethos.cli.main import main
from ethos.runs.controls import Controls
from ethos.store.config.run import load_config
from ethos.store.journal import MAIN, Journal
from ethos.store.records import Records
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages

HEAVY = ("torch", "transformers", "numpy", "pyarrow", "matplotlib", "scipy", "openai", "anthropic", "peft", "datasets")
STEPS = 100
CONFIG = f"""\
name: wren
spec: spec.md
training:
  steps: {STEPS}
knobs:
  lr: 0.0001
"""


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


Ethos = Callable[..., Ended]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test's commands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ethos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ethos:
    """Runs `ethos ARGUMENTS…` in this process, through its handler of errors."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ethos", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(bool(code)), said.out, said.err)

    return run


@pytest.fixture
def stopped_run(folder: Path) -> RunDirectory:
    """`runs/wren`, killed after the batch of step 40 was drawn."""
    run = RunDirectory.create(folder / "runs" / "wren", CONFIG)
    draw_batches(run, 40)
    return run


def imported_by(*arguments: str) -> set[str]:
    """The modules that are loaded when the command has ended."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('imported:', *sys.modules))\n"
        f"sys.argv = ['ethos', *{arguments!r}]\n"
        "from ethos.cli.main import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.rpartition("imported: ")[2].split())


def draw_batches(run: RunDirectory, last_step: int) -> None:
    with run.lock(), run.open_database() as database:
        records = Records(database)
        for step in range(1, last_step + 1):
            if records.batch(MAIN, step) is None:
                records.add_batch(MAIN, step, {"rows": {}})


@contextmanager
def training(run: RunDirectory, step: int) -> Iterator[None]:
    """The run at work in a thread of its own, about to train this step: it answers what is asked."""
    config = load_config(run.config_path)
    at_work, over = threading.Event(), threading.Event()

    async def boundaries(controls: Controls) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(controls.boundary(step), timeout=0.02)
            await asyncio.sleep(0.02)

    def work() -> None:
        own = RunDirectory(run.path)
        with own.lock(), own.open_database() as database:
            at_work.set()
            journal, gate = Journal(database, config.name, config.knobs), asyncio.Event()
            controls = Controls(own, journal, Records(database), Stages(database), MAIN, config.training.steps, gate)
            controls.restore()
            asyncio.run(boundaries(controls))

    worker = threading.Thread(target=work)
    worker.start()
    assert at_work.wait(timeout=30)
    try:
        yield
    finally:
        over.set()
        worker.join()
