"""One sitting of a run: its folder with the lock held, its records, and whoever watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from ethos.errors import EthosError
from ethos.progress import Progress
from ethos.spec.types import Spec
from ethos.store.budget import Budget
from ethos.store.cache import ResponseCache, cache_directory
from ethos.store.config import RunConfig
from ethos.store.journal import Journal
from ethos.store.ledger import Ledger, Totals
from ethos.store.records import Records
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages, State, Status


@dataclass(frozen=True, slots=True)
class Session:
    """What the stages of one run write to."""

    config: RunConfig
    spec: Spec
    run: RunDirectory
    journal: Journal
    records: Records
    stages: Stages
    ledger: Ledger
    budget: Budget
    cache: ResponseCache
    ui: Progress

    def warn(self, text: str) -> None:
        """Warns whoever watches, and whoever reads the report."""
        self.ui.warn(text)
        self.stages.add_notice("warning", text)

    def note_failure(self, text: str) -> None:
        """Tells of what went wrong and was survived."""
        self.ui.warn(text)
        self.stages.add_notice("failure", text)

    def report_status(
        self, state: State, stage: str, done: int = 0, total: int | None = None, step: int = 0, message: str = ""
    ) -> None:
        """Writes the line that `ethos status` shows."""
        self.stages.set_status(Status(state, stage, done, total, step, message, os.getpid()))


def config_text(config: RunConfig) -> str:
    """The launch config as `config.yaml` holds it: every field, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@contextmanager
def open_session(config: RunConfig, spec: Spec, runs_dir: Path, ui: Progress) -> Iterator[Session]:
    """Takes the run's lock, makes the folder if it isn't there, and opens its records.

    Raises:
        EthosError: if the run was launched with another config or spec, or another process writes it.
    """
    run = RunDirectory.create(runs_dir / config.name, config_text(config))
    with run.lock():
        database = run.open_database()
        cache = ResponseCache(cache_directory())
        try:
            stages, ledger = Stages(database), Ledger(database)
            _require_same_spec(stages, spec, run)
            spent = sum((total for role, total in ledger.totals().items() if role != "student"), Totals())
            budget = Budget(config.budget, tokens=spent.tokens, usd=spent.usd, minutes=stages.seconds() / 60)
            journal = Journal(database, config.name, config.knobs)
            session = Session(config, spec, run, journal, Records(database), stages, ledger, budget, cache, ui)
            ui.on_update = partial(session.report_status, "running")
            stages.begin_sitting()
            yield session
        finally:
            cache.close()
            database.close()


def _require_same_spec(stages: Stages, spec: Spec, run: RunDirectory) -> None:
    launched = stages.payload("spec")
    if launched is None:
        stages.begin("spec", spec.digest)
        stages.finish("spec", spec.digest)
    elif launched != spec.digest:
        raise EthosError(
            f"{run.path}: the spec has changed since this run was launched, and a run keeps to one spec; "
            "give the run another name in its config"
        )
