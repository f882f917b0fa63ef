"""A function with inputs on which it has been run, and which tell it from one that differs a little.

What other languages are held to is what the function itself returned in the sandbox, never what a model says that it
would return. Inputs that leave lines unvisited, or that a changed function passes, are no tests, and the function is
left out with that reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.types import Limits
from ethos.sandbox.values import is_equal
from ethos.synthesis.translation.inputs import generate
from ethos.synthesis.translation.mutants import mutants_of
from ethos.synthesis.translation.references import Reference

_LIMITS = Limits(cpu_s=2, wall_s=10)
_FEWEST = 8  # inputs that give a result
_MUTANTS = 24  # that are run
_SHOWN = 300  # characters of an error


@dataclass(frozen=True, slots=True)
class Oracle:
    """What was returned for each input, and how well the inputs test."""

    reference: Reference
    inputs: tuple[list[Any], ...]
    expected: tuple[Any, ...]
    coverage: float  # share of the function's lines
    killed: float  # share of its mutants


@dataclass(frozen=True, slots=True)
class Rejection:
    """`cause` is one of a few, for counting; `detail` is what may help to mend it."""

    cause: str
    detail: str


async def oracle_of(
    sandbox: Sandbox,
    reference: Reference,
    seed: int,
    *,
    inputs: int,
    coverage: float,
    killed: float,
) -> Oracle | Rejection:
    """Runs the function on `inputs` generated inputs, and small changes of it on the same.

    They have to come by a share of its lines (`coverage`), and to tell a share of the changed ones from it (`killed`).

    Raises SandboxUnavailable, and EthosError for annotations that no value can be made for.
    """
    given = generate(reference, inputs, seed)
    called = await call(sandbox, LANGUAGES["python"], reference.source, reference.name, given, _LIMITS, traced=True)
    if called.results is None or called.coverage is None:
        why = called.unparsed or ", ".join(called.undefined) or called.outcome.stderr.strip()[-_SHOWN:]
        return Rejection("the function doesn't run", f"{called.ending}: {why}")
    pairs = [(one, found.value) for one, found in zip(given, called.results, strict=True) if found.error is None]
    if len(pairs) < _FEWEST:
        error = next((result.error for result in called.results if result.error), "")
        return Rejection("the function has too few inputs", f"{len(pairs)} of {len(given)} give a result: {error}")
    if called.coverage < coverage:
        return Rejection("the function's inputs leave lines out", f"they come by {called.coverage:.0%}")
    kept, expected = tuple(one for one, _ in pairs), tuple(value for _, value in pairs)
    changed = mutants_of(reference, _MUTANTS, seed)
    told = await asyncio.gather(*(_differs(sandbox, source, reference.name, kept, expected) for source in changed))
    share = sum(told) / len(told) if told else 0.0
    if share < killed:
        return Rejection("the function's inputs pass changed functions", f"{share:.0%} of {len(told)} are found out")
    return Oracle(reference, kept, expected, called.coverage, share)


async def _differs(
    sandbox: Sandbox, source: str, name: str, inputs: Sequence[list[Any]], expected: Sequence[Any]
) -> bool:
    """Whether a changed function is found out."""
    called = await call(sandbox, LANGUAGES["python"], source, name, inputs, _LIMITS)
    if called.results is None:
        return True
    return any(
        result.error is not None or not is_equal(value, result.value)
        for value, result in zip(expected, called.results, strict=True)
    )
