"""The models of a run: each loaded once, however many parts it plays, and always behind the response cache."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ethos.errors import EthosError
from ethos.models.architecture import KNOWN_TYPES
from ethos.models.cached import (
    CachedModel,
    CachedSampler,
    Price,
    cached,
)
from ethos.models.catalogue import Entry, endpoint_fingerprint, require_weights, resolve
from ethos.models.chorus import Chorus, Voice
from ethos.models.endpoints import Endpoint, Limits, RetryPolicy, open_endpoint
from ethos.models.engine import Engine
from ethos.models.loading import Precision, compute_dtype, load
from ethos.models.local import fingerprint, local_directory
from ethos.models.memory import KEPT_PROMPT_BYTES, STUDENT_KEPT_PROMPT_BYTES
from ethos.models.refusals import Refusals
from ethos.models.templates import TEMPLATE, ChatTemplate
from ethos.models.types import Sampler
from ethos.models.worker import Worker, compute_worker
from ethos.progress import Progress
from ethos.runs.session import Session
from ethos.runs.students import FrozenStudent
from ethos.store.config.models import EndpointConfig, ModelsConfig
from ethos.store.config.training import TrainingConfig
from ethos.store.ledger import CHORUS, STUDENT
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.types import Need
from ethos.training.policy import Policy, load_policy


def require_context(config: TrainingConfig, engine: Engine) -> None:
    """Raises EthosError if rows may be longer than a model that reads them was made for."""
    if config.context_tokens > engine.context_tokens:
        raise EthosError(
            f"training.context_tokens is {config.context_tokens}, but {engine.name} holds {engine.context_tokens} "
            "tokens; lower it"
        )


def _limits(settings: EndpointConfig) -> Limits:
    return Limits(settings.concurrency, settings.requests_per_minute, settings.tokens_per_minute)


def _retries(settings: EndpointConfig) -> RetryPolicy:
    return RetryPolicy(attempts=settings.attempts, timeout_s=settings.timeout_s)


class ModelShelf:
    """Loads what the config names, on demand."""

    def __init__(self, config: ModelsConfig, base: Path, ui: Progress, precision: Precision = "auto") -> None:
        """Paths among the names are relative to `base`; `precision` is the student's.

        Raises EthosError for a name that means nothing.
        """
        self._config, self._ui, self._precision = config, ui, precision
        self._auto: Precision = "auto"
        self.worker: Worker = compute_worker(config.threads)
        self.entries: dict[str, Entry] = {
            name: resolve(name, base, config.endpoint(name).key_variable) for name in config.names
        }
        require_weights(self.entries[config.student], "models.student")
        if config.distillation_teacher is not None:
            require_weights(self.entries[config.distillation_teacher], "models.distillation_teacher")
        self._engines: dict[tuple[str, str | None, Precision], Engine] = {}
        self._policy_engines: weakref.WeakSet[Engine] = weakref.WeakSet()  # each goes when its training is over
        self._endpoints: dict[str, Endpoint] = {}
        self._directories: dict[str, Path] = {}

    def fetch(self) -> None:
        """Brings all local weights onto this machine."""
        for entry in self._local:
            self._directory(entry)

    async def keep_to_launch(self, session: Session) -> None:
        """Sees to it that a run goes on with the weights, endpoints and precision that it began with.

        Raises EthosError if what a name stands for is something else now.
        """
        for entry in self.entries.values():
            if entry.kind != "local":
                session.require_same(f"address of {entry.name}", endpoint_fingerprint(entry))
        with self._ui.stage("checking weights", len(self._local), "models") as bar:
            for entry in self._local:
                session.require_same(f"weights of {entry.name}", await asyncio.to_thread(self._fingerprint, entry))
                bar.advance()

        async def find() -> str:
            return "bf16" if await self.worker.run(compute_dtype) == torch.bfloat16 else "fp32"

        self._auto = await session.once("what precision `auto` is", [], find)

    async def engine(self, name: str, system_message: str | None = TEMPLATE, precision: Precision = "auto") -> Engine:
        """An in-process model, loaded once for each choice of system message and precision."""
        key = (name, system_message, self._auto if precision == "auto" else precision)
        if key not in self._engines:
            self._engines[key] = await self.worker.run(self._load, self.entries[name], *key[1:])
        return self._engines[key]

    async def load(self, system_message: str | None) -> None:
        """Loads all local models that don't change."""
        others = [name for name in self._config.helpers if self.entries[name].kind == "local"]
        with self._ui.stage("loading models", 1 + len(others), "models") as bar:
            await self.engine(self._config.student, system_message, self._precision)
            bar.advance()
            for name in others:
                await self.engine(name)
                bar.advance()

    async def frozen(self, session: Session, name: str, role: str) -> CachedSampler[Any]:
        """Any model that doesn't change, behind the response cache, its calls in the ledger under `role`."""
        entry, settings = self.entries[name], self._config.endpoint(name)
        if entry.kind != "local" and name not in self._endpoints:
            self._endpoints[name] = open_endpoint(entry, _retries(settings), _limits(settings))
            self._endpoints[name].gate, self._endpoints[name].warn = session.gate, session.warn
        model: Sampler = await self.engine(name) if entry.kind == "local" else self._endpoints[name]
        price = Price(settings.prompt_usd_per_mtok, settings.completion_usd_per_mtok)
        refusals = Refusals(lambda why: session.note_failure(f"a request to the {role} is left out: {why}"))
        return cached(model, session.cache, session.ledger, role, session.budget, price, refusals)

    async def chorus(self, session: Session) -> Chorus:
        """The models that draw rows together in the teacher's place."""
        voices = [Voice(await self.frozen(session, voice.name, CHORUS), voice.weight) for voice in self._config.chorus]
        return Chorus(voices, session.note_failure)

    async def base_student(self, session: Session) -> FrozenStudent:
        """The student before training, as it answers under the run's choice of system message and precision."""
        engine = await self.engine(session.config.models.student, session.config.system_message, self._precision)
        return FrozenStudent(engine, CachedModel(engine, session.cache, session.ledger, STUDENT))

    async def require_fit(self, session: Session, base: FrozenStudent) -> None:
        """Raises EthosError, before anything is paid for, if a weight needs a model that can be looked into, or rows
        may be longer than what a model that reads them can hold.
        """
        weights, stages = session.config.knobs.mixture, session.config.training.stages
        teacher = await self.distillation_teacher(base)
        read: dict[Need, list[Engine]] = {"scalar_head": [base.engine], "teacher": [base.engine, teacher]}
        require_context(session.config.training, base.engine)
        for name, objective in OBJECTIVES.items():
            weight: float = getattr(weights, name)
            if weight * max(stage.share_of(name) for stage in stages) == 0:
                continue
            for engine in [engine for need in objective.needs & read.keys() for engine in read[need]]:
                require_context(session.config.training, engine)
                if engine.forward is None:
                    raise EthosError(
                        f"knobs.mixture.{name} is {weight:g}, and it reads hidden states, which only models of a known "
                        f"shape give ({', '.join(KNOWN_TYPES)}); set it to 0, or name such models"
                    )

    async def distillation_teacher(self, base: FrozenStudent) -> Engine:
        """Whom `distillation` learns from: the student before training if no other model is named.

        Raises EthosError if the teacher's tokens are not the student's.
        """
        name = self._config.distillation_teacher
        if name is None:
            return base.engine
        engine = await self.engine(name)
        own, others = base.engine.template.tokenizer.get_vocab(), engine.template.tokenizer.get_vocab()
        if own != others:
            raise EthosError(
                f"models.distillation_teacher: {name} has another tokenizer than {self._config.student}, and a "
                "distribution over its tokens says nothing about the student's; name a model of the same family"
            )
        return engine

    def _fingerprint(self, entry: Entry) -> str:
        return fingerprint(entry, self._directory(entry))

    @property
    def _local(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.kind == "local"]

    def _directory(self, entry: Entry) -> Path:
        """Asked for once: what a hub's branch stands for may not change within a sitting."""
        if entry.name not in self._directories:
            self._directories[entry.name] = local_directory(entry, self._ui)
        return self._directories[entry.name]

    def _load(self, entry: Entry, system_message: str | None, precision: Precision) -> Engine:
        directory = self._directory(entry)
        loaded = load(directory, precision)
        template = ChatTemplate(loaded.tokenizer, system_message)
        identity = f"{fingerprint(entry, directory)}/{loaded.model.dtype}/{system_message}"
        helpers = {(name, TEMPLATE, self._auto) for name in self._config.helpers}
        plays_another_part = (entry.name, system_message, precision) in helpers
        prefix_bytes = KEPT_PROMPT_BYTES if plays_another_part else STUDENT_KEPT_PROMPT_BYTES
        engine = Engine(entry.name, identity, loaded, template, self.worker, prefix_bytes=prefix_bytes)
        engine.settle()  # a sitting that decodes nothing with it computes as one that does
        return engine

    def stop(self) -> int:
        """Drops the work of local models, for good, and what waits at endpoints, until `close`.

        Returns how many requests are under way at endpoints, which go on.
        """
        for engine in (*self._engines.values(), *self._policy_engines):
            engine.stop()
        for endpoint in self._endpoints.values():
            endpoint.stop()
        return sum(endpoint.under_way for endpoint in self._endpoints.values())

    async def close(self) -> None:
        """Closes connections to endpoints."""
        for endpoint in self._endpoints.values():
            await endpoint.close()

    async def policy(
        self, config: TrainingConfig, system_message: str | None, seed: int, *, scalar_head: bool = False
    ) -> Policy:
        """The student, ready to train, with a scalar head if a reward model may be trained.

        It is a copy, but for adapters where the student before training holds its weights as they are: on a CUDA
        device, and in fp32.
        """
        directory = self._directory(self.entries[self._config.student])
        if config.precision == "auto":
            config = config.model_copy(update={"precision": self._auto})
        with self._ui.stage("loading the student to train", 1, "models") as bar:
            before = self._engines.get((self._config.student, system_message, config.precision))
            new = partial(load_policy, scalar_head=scalar_head, base=None if before is None else before.loaded)
            policy = await self.worker.run(new, directory, config, system_message, seed)
            bar.advance()
        return policy

    def policy_engine(self, policy: Policy) -> Engine:
        """An engine on the very weights that are trained."""
        engine = Engine(
            self._config.student,
            "policy",
            policy.loaded,
            policy.template,
            self.worker,
            forward=policy.forward,
            prefix_bytes=STUDENT_KEPT_PROMPT_BYTES,
        )
        self._policy_engines.add(engine)
        return engine
