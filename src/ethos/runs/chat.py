"""Talking to a trained student, or to any model of the catalogue."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from ethos.errors import EthosError
from ethos.models.catalogue import resolve
from ethos.models.endpoints import Endpoint, open_endpoint
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.local import fingerprint, local_directory
from ethos.models.templates import ChatTemplate
from ethos.models.types import RequestRefused, Sampler, SamplingParams
from ethos.models.worker import compute_worker
from ethos.progress import Progress
from ethos.spec.conversation import Conversation
from ethos.store.run_directory import RunDirectory


@dataclass(slots=True)
class Chat:
    """Someone to talk to."""

    model: Sampler
    turn: int = 0

    async def reply(self, conversation: Conversation, max_tokens: int, temperature: float) -> str:
        """The next turn; the same conversation may get another reply each time.

        Raises RequestRefused if there is none.
        """
        self.turn += 1
        [sample] = await self.model.sample(conversation, SamplingParams(max_tokens, temperature), (self.turn,))
        if sample.refusal:
            raise RequestRefused(sample.refusal)
        return sample.text

    async def close(self) -> None:
        """Closes an endpoint's connections, on the event loop that it was talked to on."""
        if isinstance(self.model, Endpoint):
            await self.model.close()


def open_chat(who: str, ui: Progress) -> Chat:
    """The student of a run's folder, with the template it was trained with, or a model by its name."""
    path = Path(who)
    if os.path.isfile(path / "config.yaml"):  # False where nobody can look, of which `resolve` tells
        if not (RunDirectory(path).student / "config.json").is_file():
            raise EthosError(f"{path}: has no trained student yet; run `ethos run` to its end first")
        who = str(RunDirectory(path).student)
    entry = resolve(who, Path.cwd())
    if entry.kind != "local":
        endpoint = open_endpoint(entry)
        endpoint.warn = ui.warn
        return Chat(endpoint)
    directory = local_directory(entry, ui)
    worker = compute_worker()

    def load_engine() -> Engine:
        loaded = load(directory)
        return Engine(who, fingerprint(entry, directory), loaded, ChatTemplate(loaded.tokenizer), worker)

    return Chat(asyncio.run(worker.run(load_engine)))
