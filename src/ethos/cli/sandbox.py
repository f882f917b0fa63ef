"""`ethos sandbox`: whether code that a model wrote can be run here."""

from __future__ import annotations

import asyncio

import typer

from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.self_test import open_sandbox


def try_sandbox() -> None:
    """Says what can be run. EthosError if nothing can, with the reason."""
    for line in asyncio.run(_tried()):
        typer.echo(line)


async def _tried() -> list[str]:
    sandbox = await open_sandbox()
    found = ["the sandbox holds: a program that tried to get out of it did not"]
    for name, language in LANGUAGES.items():
        said = language.missing()
        if said is None:
            called = await call(sandbox, language, "", None)
            said = "ready" if called.ending == "ran" else f"an empty program {called.ending}: {called.outcome.stderr}"
        found.append(f"{name}: {said}")
    return found
