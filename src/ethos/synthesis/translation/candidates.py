"""A translation that a model wrote, put to the proof: why it is rejected, in words that help to mend it."""

from __future__ import annotations

import regex

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import Called, call
from ethos.sandbox.types import Language, Limits
from ethos.sandbox.values import is_equal
from ethos.synthesis.translation.oracles import Oracle, Rejection

_BLOCK = regex.compile(r"```([\w+-]*)[ \t]*\n(.*?)```", regex.DOTALL)
_SHOWN = 300  # characters of a value, in a reason
_PRINTED = 600  # characters of what a program printed
_LIMITS = Limits(cpu_s=3, wall_s=15, output_bytes=2**23)
_ENDLESS = {"cpu": "doesn't end", "wall clock": "doesn't end", "output": "prints without end"}


def program_in(reply: str, language: Language) -> str | None:
    """The program of a reply: its longest block in the language, or else its longest one, or all of it if it begins as
    a program does; else None.

    A block without the language's opening is given it.
    """
    blocks = [(tag.lower() == language.name, text.strip()) for tag, text in _BLOCK.findall(reply) if text.strip()]
    whole = reply.strip() if language.opening and reply.lstrip().startswith(language.opening) else ""
    text = max(blocks, key=lambda block: (block[0], len(block[1])))[1] if blocks else whole
    if not text:
        return None
    return text if language.opening in text else f"{language.opening}\n{text}"


async def rejection_of(sandbox: Sandbox, language: Language, program: str, oracle: Oracle) -> Rejection | None:
    """Why a program isn't a translation of the function; None if it returns the same for every input.

    Only the first half of the inputs is ever shown: what mends a program by naming these is found out by the others.
    """
    called = await call(sandbox, language, program, oracle.reference.name, oracle.inputs, _LIMITS)
    if called.unparsed is not None:
        return Rejection("can't be read", called.unparsed)
    if called.undefined:
        return Rejection("names what nothing defines", f"nothing defines {', '.join(called.undefined)}")
    if called.ending in _ENDLESS:  # what it has printed by then depends on how fast the machine is
        return Rejection(_ENDLESS[called.ending], "it was ended before it had answered for all inputs")
    if called.results is None:
        return Rejection("crashes", f"it ends with exit code {called.outcome.exit_code}{_printed(called)}")
    for place, (given, expected, result) in enumerate(zip(oracle.inputs, oracle.expected, called.results, strict=True)):
        if result.error is None and is_equal(expected, result.value):
            continue
        cause = "returns something else" if result.error is None else "fails on an input"
        if place >= len(oracle.inputs) // 2:
            return Rejection(cause, "it is right for many inputs, and wrong for some that are not shown")
        found = f"returns {repr(result.value)[:_SHOWN]}" if result.error is None else f"fails: {result.error}"
        wanted = f"for ({', '.join(map(repr, given))[:_SHOWN]}) it should return {repr(expected)[:_SHOWN]}"
        return Rejection(cause, f"{wanted}, but {found}{_printed(called)}")
    return None


def _printed(called: Called) -> str:
    """What it wrote on standard output or error, whose end tells most."""
    printed = called.outcome.stderr.strip()
    return f"; it printed: {printed[-_PRINTED:]}" if printed else ""
