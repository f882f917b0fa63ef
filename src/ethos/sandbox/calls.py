"""Calls of one function of a program that a model wrote, each with its arguments, all in one sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.types import Ending, Language, Limits, Outcome
from ethos.sandbox.values import from_tagged, to_tagged


@dataclass(frozen=True, slots=True)
class Result:
    """What one call returned, or the error that it ended with."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Called:
    """What came of all calls. `results` is None unless the program could be read and came to its end."""

    results: tuple[Result, ...] | None
    unparsed: str | None  # why the program could not be read, or that it has no such function
    outcome: Outcome
    undefined: tuple[str, ...] = ()  # functions and classes that it names and nothing defines; nothing was called then
    coverage: float | None = None  # share of the function's lines that calls with a result came by, if it was asked for

    @property
    def ending(self) -> Ending:
        """How the program ended."""
        return self.outcome.ending


async def call(
    sandbox: Sandbox,
    language: Language,
    source: str,
    function: str | None,
    inputs: Sequence[Sequence[Any]] = (),
    limits: Limits | None = None,
    *,
    traced: bool = False,
) -> Called:
    """Calls `function` once for each of `inputs`, which are lists of arguments; without one, only runs the program.

    `traced` asks for the coverage, which Python alone tells; a call then ends with an error if it takes 0.2 s of CPU,
    or changes its arguments.

    Raises SandboxUnavailable, and TypeError for arguments that other languages don't have.
    """
    arguments = [[to_tagged(one) for one in given] for given in inputs]
    given = {"source": source, "function": function, "inputs": arguments, "traced": traced}
    outcome = await sandbox.run(language, given, limits)
    return await asyncio.to_thread(_read, outcome, len(inputs) if function is not None else 0)


def _read(outcome: Outcome, expected: int) -> Called:
    """What the harness told, which may be anything."""
    if outcome.ending != "ran":
        return Called(None, None, outcome)
    try:
        told = json.loads(outcome.told.rstrip("\n").rsplit("\n", 1)[-1])
        if unparsed := told.get("unparsed"):
            return Called(None, _said(unparsed), outcome)
        if undefined := told.get("undefined"):
            return Called(None, None, outcome, tuple(map(_said, undefined)))
        results = tuple(_result(one) for one in told["results"])
        if len(results) != expected:
            raise ValueError(f"{len(results)} results for {expected} inputs")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # it wrote over its harness's answer, or ended the process by itself: no answer is its own fault
        told_by_us = f"{outcome.stderr}\nno answer that can be read: {error}"
        return Called(None, None, replace(outcome, ending="crashed", told="", stderr=told_by_us))
    return Called(results, None, outcome, coverage=_share(told.get("coverage")))


def _result(told: Any) -> Result:
    return Result(error=_said(told["error"])) if "error" in told else Result(from_tagged(told["value"]))


def _share(told: Any) -> float | None:
    return told if isinstance(told, float) and 0 <= told <= 1 else None


def _said(text: Any) -> str:
    """As text that can be written anywhere: JSON lets halves of a character through."""
    return str(text).encode("utf-8", "replace").decode()
