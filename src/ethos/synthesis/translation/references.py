"""Functions that are to be translated, as they stand in Python files."""

from __future__ import annotations

import ast
import copy
import doctest
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.store.canonical import digest


@dataclass(frozen=True, slots=True)
class Reference:
    """A function complete in itself, whose annotations tell what may be given."""

    name: str
    source: str
    parameters: tuple[ast.expr, ...]  # annotations, in order
    constants: tuple[str | int | float, ...]  # what stands in it, and so may decide what it does
    examples: tuple[list[Any], ...]  # arguments of the calls that its docstring shows, as in >>> f(1, "a")
    origin: str  # the file, and the line that it begins with


def references_in(path: Path) -> list[Reference]:
    """All functions at the top of a file, or of the files in a folder, in order.

    Raises EthosError for a file that can't be read, and for a function with a parameter that says not what it may be.
    """
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = [reference for file in files for reference in _references_of(file)]
    if not found:
        raise EthosError(f"{path}: no function at the top of a Python file; name a file that has some")
    return found


def digest_of(references: Sequence[Reference]) -> str:
    """Of all that is to be translated, wherever it lies."""
    return digest([reference.source for reference in references])


def _references_of(path: Path) -> list[Reference]:
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise EthosError(f"{path}: can't be read as Python: {error}") from error
    return [_reference(node, text, path) for node in tree.body if isinstance(node, ast.FunctionDef)]


def _reference(node: ast.FunctionDef, text: str, path: Path) -> Reference:
    where = f"{path}:{node.lineno}"
    given = node.args
    if given.vararg or given.kwarg or given.kwonlyargs:
        raise EthosError(f"{where}: {node.name} takes a changing number of arguments; give it plain parameters")
    parameters = []
    for argument in (*given.posonlyargs, *given.args):
        if argument.annotation is None:
            raise EthosError(
                f"{where}: {argument.arg} of {node.name} has no annotation; say what it may be, as in x: int"
            )
        parameters.append(argument.annotation)
    source = ast.get_source_segment(text, node)
    assert source is not None, "it was parsed from this text"
    examples = _examples(node, len(parameters), where)
    return Reference(node.name, source, tuple(parameters), _constants(node), examples, where)


def _examples(node: ast.FunctionDef, parameters: int, where: str) -> tuple[list[Any], ...]:
    """Raises EthosError for a call that is none of this function with as many plain values."""
    found = []
    for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
        arguments = _arguments(example.source, node.name)
        if arguments is None or len(arguments) != parameters:
            raise EthosError(
                f"{where}: {example.source.strip()!r} is no call of {node.name} with {parameters} plain values; mend "
                "the example, or leave it out"
            )
        found.append(arguments)
    return tuple(found)


def _arguments(shown: str, name: str) -> list[Any] | None:
    """Those of a call with plain values; None if it is no such call."""
    try:
        call = ast.parse(shown.strip(), mode="eval").body
        if isinstance(call, ast.Call) and ast.unparse(call.func) == name and not call.keywords:
            return [ast.literal_eval(argument) for argument in call.args]
    except (SyntaxError, ValueError):
        pass
    return None


def _constants(node: ast.FunctionDef) -> tuple[str | int | float, ...]:
    """Each once, without the docstring."""
    found = [
        part.value
        for part in ast.walk(without_docstring(ast.Module([node], [])))
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str | int | float)
        and not isinstance(part.value, bool)
    ]
    return tuple(dict.fromkeys(found))


def without_docstring(module: ast.Module) -> ast.Module:
    """The same with functions at its top that say nothing of themselves."""
    made = copy.deepcopy(module)
    for node in made.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return made
