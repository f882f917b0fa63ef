"""Functions that are to be translated, as they stand in Python files."""

from __future__ import annotations

import ast
import builtins
import copy
import doctest
import symtable
from collections.abc import Iterator, Sequence
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
    returns: ast.expr | None  # and that of what it returns
    constants: tuple[str | int | float, ...]  # what stands in it, and so may decide what it does
    examples: tuple[list[Any], ...]  # arguments of the calls that its docstring shows, as in >>> f(1, "a")
    origin: str  # the file, and the line that it begins with


def references_in(path: Path) -> list[Reference]:
    """All functions at the top of a file, or of the files in a folder, in order.

    Raises EthosError for a file that can't be read, and for a function that can't be taken out of it, or whose
    parameters don't say what they may be.
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
    except (OSError, ValueError, SyntaxError) as error:  # ValueError: not UTF-8, or a NUL character
        raise EthosError(f"{path}: can't be read as Python: {error}") from error
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [_reference(node, text, path) for node in functions]


def _reference(node: ast.FunctionDef | ast.AsyncFunctionDef, text: str, path: Path) -> Reference:
    where = f"{path}:{node.lineno}"
    if isinstance(node, ast.AsyncFunctionDef) or node.decorator_list:
        raise EthosError(
            f"{where}: {node.name} is async or decorated, and is taken as it stands; make it a plain function"
        )
    given = node.args
    if given.vararg or given.kwarg or given.kwonlyargs:
        raise EthosError(
            f"{where}: {node.name} takes arguments by keyword alone, or any number of them; give it plain parameters"
        )
    parameters = []
    for argument in (*given.posonlyargs, *given.args):
        if argument.annotation is None:
            raise EthosError(
                f"{where}: {argument.arg} of {node.name} has no annotation; say what it may be, as in x: int"
            )
        parameters.append(argument.annotation)
    source = ast.get_source_segment(text, node)
    assert source is not None, "it was parsed from this text"
    if missing := _names_from_outside(node):
        raise EthosError(
            f"{where}: {node.name} uses {', '.join(missing)}, which it doesn't define; a function is translated alone, "
            "so put into it what it needs, imports too"
        )
    return Reference(
        node.name, source, tuple(parameters), node.returns, _constants(node), _examples(node, len(parameters)), where
    )


def _names_from_outside(node: ast.FunctionDef) -> list[str]:
    """Names that neither the function defines nor Python brings; those of annotations don't count."""
    plain = copy.deepcopy(node)
    without_annotations(plain)
    table = symtable.symtable(ast.unparse(plain), "function", "exec")
    names = {symbol.get_name() for inner in _tables(table) for symbol in inner.get_symbols() if symbol.is_global()}
    return sorted(names - {node.name, *vars(builtins)})


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _tables(child)


def _examples(node: ast.FunctionDef, parameters: int) -> tuple[list[Any], ...]:
    """Of the calls that its docstring shows, those of this function alone with as many plain values."""
    try:
        shown = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
    except ValueError:  # a form of its own
        return ()
    found = (_arguments(example.source, node.name) for example in shown)
    return tuple(arguments for arguments in found if arguments is not None and len(arguments) == parameters)


def _arguments(shown: str, name: str) -> list[Any] | None:
    """Those of a call with plain values; None if it is no such call."""
    try:
        call = ast.parse(shown.strip(), mode="eval").body
        if isinstance(call, ast.Call) and ast.unparse(call.func) == name and not call.keywords:
            return [ast.literal_eval(argument) for argument in call.args]
    except (SyntaxError, ValueError, TypeError):
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


def without_annotations(tree: ast.AST) -> None:
    """Takes them out of all functions in it: what may be given decides nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
