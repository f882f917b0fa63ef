"""A translation that a model wrote, put to the proof: why it is rejected, in words that help to mend it."""

from __future__ import annotations

from typing import Any

import regex

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import Called, call
from ethos.sandbox.types import Language, Limits
from ethos.sandbox.values import is_equal
from ethos.synthesis.translation.oracles import Oracle, Rejection

_BLOCK = regex.compile(r"```[\w+-]*[ \t]*\n(.*?)```", regex.DOTALL)
_SHOWN = 300  # characters of a value, in a reason
_PRINTED = 600  # characters of what a program printed
_LIMITS = Limits(cpu_s=3, wall_s=10)
_ENDLESS = {"cpu": "doesn't end", "wall clock": "doesn't end", "output": "prints without end"}


def program_in(reply: str, language: Language) -> str | None:
    """The program of a reply: its longest fenced block, or all of it if it begins as a program does; else None.

    A block without the language's opening is given it.
    """
    opening = language.opening
    blocks = [block for block in _BLOCK.findall(reply) if block.strip()]
    text = max(blocks, key=len) if blocks else reply if opening and reply.lstrip().startswith(opening) else ""
    if not text.strip():
        return None
    return text.strip() if text.lstrip().startswith(opening) else f"{opening}\n{text.strip()}"


async def rejection_of(sandbox: Sandbox, language: Language, program: str, oracle: Oracle) -> Rejection | None:
    """Why a program isn't a translation of the function; None if it returns the same for every input."""
    called = await call(sandbox, language, program, oracle.reference.name, oracle.inputs, _LIMITS)
    if called.unparsed is not None:
        return Rejection("can't be read", called.unparsed)
    if called.undefined:
        return Rejection("names what nothing defines", f"nothing defines {', '.join(called.undefined)}")
    if called.results is None:
        return Rejection(_ENDLESS.get(called.ending, "crashes"), _ending_of(called))
    for given, expected, result in zip(oracle.inputs, oracle.expected, called.results, strict=True):
        if result.error is not None:
            wanted = _call_of(given, expected)
            return Rejection("fails on an input", f"{wanted}, but fails: {result.error}{_printed(called)}")
        if not is_equal(expected, result.value):
            wanted, found = _call_of(given, expected), repr(result.value)[:_SHOWN]
            return Rejection("returns something else", f"{wanted}, but returns {found}{_printed(called)}")
    return None


def _call_of(given: list[Any], expected: Any) -> str:
    return f"for ({', '.join(map(repr, given))[:_SHOWN]}) it should return {repr(expected)[:_SHOWN]}"


def _ending_of(called: Called) -> str:
    limit = f", since it met the limit of {called.ending}" if called.ending in _ENDLESS else ""
    return f"it ends with exit code {called.outcome.exit_code}{limit}{_printed(called)}"


def _printed(called: Called) -> str:
    """What it wrote on standard output or error, whose end tells most."""
    printed = called.outcome.stderr.strip()
    return f"; it printed: {printed[-_PRINTED:]}" if printed else ""
