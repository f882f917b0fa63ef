"""The models of a run: each loaded once, however many parts it plays, and always behind the response cache."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ethos.models.catalogue import Entry, resolve
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.local import fingerprint, local_directory
from ethos.models.templates import ChatTemplate
from ethos.models.worker import Worker, compute_worker
from ethos.store.config import ModelsConfig, TrainingConfig
from ethos.training.policy import Policy, load_policy

TEMPLATE = "template"


class ByteBars(Protocol):
    """Shows a download."""

    def __call__(self, done: int, total: int) -> None: ...


class ModelShelf:
    """Loads what the config names, on demand."""

    def __init__(self, config: ModelsConfig, base: Path, progress: ByteBars | None = None) -> None:
        """Paths among the names are relative to `base`. Raises EthosError for a name that means nothing."""
        self._config, self._progress = config, progress
        self.worker: Worker = compute_worker(config.threads)
        names = {config.student, config.teacher, config.judge, config.sealed_judge or config.judge}
        self.entries: dict[str, Entry] = {name: resolve(name, base) for name in sorted(names)}
        self._engines: dict[tuple[str, str | None], Engine] = {}

    def fetch(self) -> None:
        """Brings all local weights onto this machine."""
        for entry in self.entries.values():
            if entry.kind == "local":
                local_directory(entry, self._progress)

    async def model(self, name: str, system_message: str | None = TEMPLATE) -> Engine:
        """A frozen model; in-process ones are loaded once for each choice of system message."""
        entry = self.entries[name]
        if entry.kind != "local":
            return _endpoint(entry)
        key = (name, system_message)
        if key not in self._engines:
            self._engines[key] = await self.worker.run(self._load, entry, system_message)
        return self._engines[key]

    def _load(self, entry: Entry, system_message: str | None) -> Engine:
        directory = local_directory(entry, self._progress)
        loaded = load(directory)
        template = ChatTemplate(loaded.tokenizer, system_message)
        identity = f"{fingerprint(entry, directory)}/{loaded.model.dtype}/{system_message}"
        return Engine(entry.name, identity, loaded, template, self.worker)

    def release(self, name: str) -> None:
        """Forgets a model that is not needed any more, and with it its memory."""
        for key in [key for key in self._engines if key[0] == name]:
            del self._engines[key]

    async def policy(self, config: TrainingConfig, system_message: str | None, seed: int) -> Policy:
        """The student, ready to train: a copy of its own."""
        directory = local_directory(self.entries[self._config.student], self._progress)
        return await self.worker.run(load_policy, directory, config, system_message, seed)

    def policy_engine(self, policy: Policy) -> Engine:
        """An engine on the very weights that are trained."""
        return Engine(
            self._config.student, "policy", policy.loaded, policy.template, self.worker, forward=policy.forward
        )


def _endpoint(entry: Entry):  # type: ignore[no-untyped-def]
    from ethos.models.endpoints.endpoint import connect

    return connect(entry)
