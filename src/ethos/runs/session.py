"""One sitting of a run: its folder with the lock held, its records, and whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ethos.errors import EthosError
from ethos.judging.labelled import CalibrationReply
from ethos.progress import Progress
from ethos.spec.types import Json, Spec
from ethos.store.budget import Budget
from ethos.store.cache import ResponseCache, cache_directory
from ethos.store.canonical import digest
from ethos.store.config.run import RunConfig
from ethos.store.journal import Journal
from ethos.store.ledger import UNBUDGETED, Ledger, Totals
from ethos.store.records import Records
from ethos.store.rows import Row, row_to_dict
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
    gate: asyncio.Event  # set while work may go on
    labelled: tuple[CalibrationReply, ...] = ()  # those of the config's calibration file
    written_rows: tuple[Row, ...] = ()  # those of the config's files of rows

    async def once(
        self,
        name: str,
        inputs: Json,
        make: Callable[[], Awaitable[Json]],
        holds: Callable[[Any], bool] = lambda payload: True,
    ) -> Any:
        """What a stage leaves behind: from the records if it was finished with these inputs, else made now.

        `holds` tells of a payload whether what it names is still there; a stage of which it isn't is made again.
        """
        inputs_digest = digest(inputs)
        found = self.stages.finished(name, inputs_digest)
        if found is not None and holds(found.payload):
            return found.payload
        self.stages.begin(name, inputs_digest)
        self.report_status("running", name)
        self.stages.finish(name, await make())
        return self.stages.payload(name)  # as a later sitting reads it: keys in the same order

    def require_same(self, what: str, content: str) -> None:
        """Keeps what the run was launched with. Raises EthosError if it is another in a later sitting."""
        launched = self.stages.payload(what)
        if launched is None:
            self.stages.begin(what, content)
            self.stages.finish(what, content)
        elif launched != content:
            raise EthosError(
                f"{self.run.path}: the {what} changed after this run was launched, and a run keeps to what it was "
                "launched with; give the run another name in its config"
            )

    def changed_since_last_sitting(self, what: str, now: Mapping[str, str]) -> list[str]:
        """What differs from what the last sitting told here, each as `part before → now`; keeps it for the next."""
        before: Any = self.stages.payload(what)
        self.stages.begin(what, "")
        self.stages.finish(what, dict(now))
        if before is None:
            return []
        return [f"{part} {before.get(part)} → {value}" for part, value in now.items() if before.get(part) != value]

    def warn(self, text: str) -> None:
        """Warns whoever watches, and whoever reads the report."""
        self.ui.warn(text)
        self.stages.add_notice("warning", text)

    def note_failure(self, text: str) -> None:
        """Tells of what went wrong and was survived."""
        self.ui.warn(text)
        self.stages.add_notice("failure", text)

    def report_status(
        self, state: State, stage: str, done: int = 0, total: int | None = None, message: str = ""
    ) -> None:
        """Writes the line that `ethos status` shows; a run that is held says so."""
        if state == "running" and not self.gate.is_set():
            state = "paused"
        self.stages.set_status(Status(state, stage, done, total, message))


def config_text(config: RunConfig) -> str:
    """The launch config as `config.yaml` holds it: every field, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@contextmanager
def open_session(
    config: RunConfig,
    spec: Spec,
    runs_dir: Path,
    ui: Progress,
    labelled: Sequence[CalibrationReply] = (),
    written_rows: Sequence[Row] = (),
) -> Iterator[Session]:
    """Takes the run's lock, makes the folder if it isn't there, and opens its records.

    `labelled` are the replies of the config's calibration file, `written_rows` the rows of its files of rows.

    Raises:
        EthosError: if the run was launched with another config, spec, calibration or rows of the user's own, or another
            process writes it.
    """
    run = RunDirectory.create(runs_dir / config.name, config_text(config))
    with run.lock():
        database = run.open_database()
        cache = ResponseCache(cache_directory())
        try:
            stages, ledger = Stages(database), Ledger(database)
            spent = sum((total for role, total in ledger.totals().items() if role not in UNBUDGETED), Totals())
            budget = Budget(config.budget, tokens=spent.tokens, usd=spent.usd, minutes=stages.seconds() / 60)
            journal = Journal(database, config.name, config.knobs)
            session = Session(
                config,
                spec,
                run,
                journal,
                Records(database),
                stages,
                ledger,
                budget,
                cache,
                ui,
                asyncio.Event(),
                tuple(labelled),
                tuple(written_rows),
            )
            session.require_same("spec", digest([spec.name, spec.digest]))  # named after its file if it has no title
            session.require_same("calibration", digest([asdict(reply) for reply in labelled]))
            session.require_same("set of rows of your own", digest([row_to_dict(row) for row in written_rows]))
            ui.on_update = partial(session.report_status, "running")
            session.gate.set()
            stages.begin_sitting()
            yield session
        finally:
            cache.close()
            database.close()
