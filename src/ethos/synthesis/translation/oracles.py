"""A function with inputs on which it has been run, and which tell it from one that differs a little.

What other languages are held to is what the function itself returned in the sandbox, never what a model says that it
would return. Inputs that leave lines unvisited, or that a changed function passes, are no tests, and the function is
left out with that reason.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.types import Language, Limits
from ethos.sandbox.values import is_equal
from ethos.synthesis.translation.inputs import generate
from ethos.synthesis.translation.mutants import mutants_of
from ethos.synthesis.translation.references import Reference

_LIMITS = Limits(cpu_s=20, wall_s=40, output_bytes=2**23)  # of all inputs together, each with its lines noted
_MUTANT_LIMITS = Limits(cpu_s=3, wall_s=15, output_bytes=2**23)
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
    to: Language,
    seed: int,
    *,
    inputs: int,
    coverage: float,
    killed: float,
) -> Oracle | Rejection:
    """Runs the function on up to `inputs` generated inputs, and small changes of it on the same.

    What it fails on, and what the other language can't hold, is left out. The rest has to come by a share of its lines
    (`coverage`), and to tell a share of the changed ones from it (`killed`).

    Raises SandboxUnavailable, and EthosError for annotations that no value can be made for.
    """
    given = [arguments for arguments in generate(reference, inputs, seed) if to.holds(arguments)]
    source = f"from __future__ import annotations\n{reference.source}"  # what annotations name needn't be there
    called = await call(sandbox, LANGUAGES["python"], source, reference.name, given, _LIMITS, traced=True)
    if called.results is None or called.coverage is None:
        why = called.unparsed or ", ".join(called.undefined) or called.outcome.stderr.strip()[-_SHOWN:]
        return Rejection("it doesn't run", f"{called.ending}: {why}")
    results = zip(given, called.results, strict=True)
    pairs = [
        (arguments, as_annotated(result.value, reference.returns))
        for arguments, result in results
        if result.error is None and to.holds(result.value)
    ]
    if len(pairs) < _FEWEST:
        error = next((result.error for result in called.results if result.error), "")
        return Rejection("too few inputs give a result", f"{len(pairs)} of {len(given)}: {error}")
    if called.coverage < coverage:
        return Rejection("its inputs leave lines out", f"they come by {called.coverage:.0%}")
    kept, expected = tuple(arguments for arguments, _ in pairs), tuple(value for _, value in pairs)
    changed = await asyncio.to_thread(mutants_of, reference, _MUTANTS, seed)
    told = await asyncio.gather(*(_differs(sandbox, source, reference.name, kept, expected) for source in changed))
    ran = [found_out for found_out in told if found_out is not None]
    share = sum(ran) / len(ran) if ran else 0.0
    if share < killed:
        return Rejection("its inputs pass changed functions", f"{share:.0%} of {len(ran)} are found out")
    return Oracle(reference, kept, expected, called.coverage, share)


async def _differs(
    sandbox: Sandbox, source: str, name: str, inputs: Sequence[list[Any]], expected: Sequence[Any]
) -> bool | None:
    """Whether a changed function is found out; None if that can't be told, as it was not called, or the machine was
    too slow.
    """
    called = await call(sandbox, LANGUAGES["python"], source, name, inputs, _MUTANT_LIMITS)
    if called.undefined or called.unparsed or called.ending == "wall clock":
        return None
    if called.results is None:
        return True
    return any(
        result.error is not None or not is_equal(value, result.value)
        for value, result in zip(expected, called.results, strict=True)
    )


def as_annotated(value: Any, annotation: ast.expr | None) -> Any:
    """The value with a float wherever the annotation says so: Python lets integers pass for floats, others don't."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        sides = (annotation.left, annotation.right)
        return value if any(ast.unparse(side) == "int" for side in sides) else _first_changed(value, sides)
    if type(value) is int and annotation is not None and ast.unparse(annotation) == "float":
        return float(value)
    if not isinstance(annotation, ast.Subscript):
        return value
    parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if ast.unparse(annotation.value).removeprefix("typing.") in ("Optional", "Union"):
        return value if any(ast.unparse(part) == "int" for part in parts) else _first_changed(value, parts)
    if isinstance(value, dict):
        return {key: as_annotated(item, parts[-1]) for key, item in value.items()}
    if isinstance(value, tuple) and len(parts) == len(value) and ast.unparse(parts[-1]) != "...":
        return tuple(as_annotated(item, part) for item, part in zip(value, parts, strict=True))
    return [as_annotated(item, parts[0]) for item in value] if isinstance(value, list | tuple) else value


def _first_changed(value: Any, annotations: Sequence[ast.expr]) -> Any:
    """As the first of these that makes floats of it."""
    changed = (as_annotated(value, annotation) for annotation in annotations)
    return next((found for found in changed if repr(found) != repr(value)), value)
