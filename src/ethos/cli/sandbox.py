"""`ethos sandbox`: whether code that a model wrote can be run here."""

from __future__ import annotations

import asyncio

import typer

from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.self_test import open_sandbox, unready


def try_sandbox() -> None:
    """Says what can be run. EthosError if nothing can, with the reason."""
    for line in asyncio.run(_tried()):
        typer.echo(line)


async def _tried() -> list[str]:
    sandbox = await open_sandbox()
    found = ["the sandbox holds: a program that tried to get out of it did not"]
    return found + [f"{name}: {await unready(sandbox, language) or 'ready'}" for name, language in LANGUAGES.items()]
