"""`ethos chat`: a conversation with the trained student, or with any model by name. Streaming is left out."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import typer

from ethos.cli.lookup import find_run
from ethos.errors import EthosError
from ethos.models.catalogue import resolve
from ethos.models.types import RequestRefused
from ethos.progress import harmless, progress_for
from ethos.spec.conversation import Conversation


class Partner(Protocol):
    """Who replies."""

    async def reply(self, conversation: Conversation, max_tokens: int, temperature: float) -> str:
        """The next turn. Raises RequestRefused if there is none."""
        ...

    async def close(self) -> None:
        """To be called at the end, on the event loop of the replies."""
        ...


def chat(who: str, max_tokens: int, temperature: float) -> None:
    """Opens the student of a run, or a model, and talks until the input ends."""
    name = _partner_name(who)
    from ethos.runs.chat import open_chat

    talk(open_chat(name, progress_for()), max_tokens, temperature)


def talk(partner: Partner, max_tokens: int, temperature: float) -> None:
    """Reads messages from stdin, a line each, and prints the replies. What is refused is forgotten."""
    is_interactive = sys.stdin.isatty()
    if is_interactive:
        import readline  # noqa: F401 - input() edits lines and recalls them once it is imported

        typer.echo("/reset forgets the conversation, /quit ends it", err=True)
    conversation = Conversation(())
    with asyncio.Runner() as runner, _closed_at_the_end(partner, runner):
        while (message := _read_message(is_interactive)) is not None:
            if message == "/quit":
                return
            if message == "/reset":
                conversation = Conversation(())
                continue
            if not message:
                continue
            asked = conversation.then("user", message)
            try:
                reply = runner.run(partner.reply(asked, max_tokens, temperature))
            except RequestRefused as refused:
                typer.echo(harmless(str(refused)), err=True)
                continue
            conversation = asked.then("assistant", reply)
            typer.echo(harmless(reply))


@contextmanager
def _closed_at_the_end(partner: Partner, runner: asyncio.Runner) -> Iterator[None]:
    try:
        yield
    finally:
        runner.run(partner.close())


def _read_message(is_interactive: bool) -> str | None:
    """The next line; None at the end of the input."""
    if is_interactive:
        try:
            return input("> ").strip()
        except EOFError:
            return None
    line = sys.stdin.buffer.readline()
    try:
        return line.decode("utf-8").strip() if line else None
    except UnicodeDecodeError as error:
        raise EthosError("a message on stdin isn't UTF-8 text; convert it and pipe it again") from error


def _partner_name(who: str) -> str:
    """The folder of a run, or the model's name as it was given. Raises EthosError if it is neither."""
    try:
        return str(find_run(who).path)
    except EthosError:
        if ":" not in who and not os.path.exists(who):
            raise
    return resolve(who, Path.cwd()).name
