"""Small changes to a function, each of which its tests should notice.

Operators as in Offutt et al. 1996: comparisons, arithmetic and logic are replaced, constants moved, statements left
out. A change that makes no difference to what the function does can't be told from one that the tests miss; so of all
of them only a share is asked for.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from ethos.synthesis.translation.references import Reference, without_annotations, without_docstring

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


def mutants_of(reference: Reference, most: int, seed: int) -> list[str]:
    """Up to `most` different sources, each with one change, picked by the seed."""
    function = without_docstring(ast.parse(reference.source))
    without_annotations(function)
    for node in function.body:
        if isinstance(node, ast.FunctionDef):
            node.args.defaults = []  # all arguments are given
    found = list(dict.fromkeys(_changed(function)))
    random.Random(f"{seed}/{reference.name}").shuffle(found)
    return found[:most]


def _changed(tree: ast.Module) -> Iterator[str]:
    """The source under every change."""
    for place, node in enumerate(ast.walk(tree)):
        for change in _changes_of(node):
            made = copy.deepcopy(tree)
            change(next(other for at, other in enumerate(ast.walk(made)) if at == place))
            yield ast.unparse(ast.fix_missing_locations(made))


def _changes_of(node: ast.AST) -> list[Callable[[Any], None]]:
    """What can be done to such a node, in place."""
    changes: list[Callable[[Any], None]] = []
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        changes.append(_compare_otherwise)
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        changes.append(_compute_otherwise)
    elif isinstance(node, ast.BoolOp):
        changes.append(_swap_and_or)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        changes.append(_leave_not_out)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        changes += [_more, _less]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        changes.append(_lengthen)
    if isinstance(node, ast.If | ast.While):
        changes.append(_negate_test)
    if isinstance(node, ast.FunctionDef | ast.For | ast.While | ast.If) and len(node.body) > 1:
        changes.append(_leave_last_out)
    return changes


def _compare_otherwise(node: ast.Compare) -> None:
    node.ops[0] = _COMPARISONS[type(node.ops[0])]()


def _compute_otherwise(node: ast.BinOp | ast.AugAssign) -> None:
    node.op = _ARITHMETIC[type(node.op)]()


def _swap_and_or(node: ast.BoolOp) -> None:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _leave_not_out(node: ast.UnaryOp) -> None:
    node.op, node.operand = ast.UAdd(), ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])


def _more(node: Any) -> None:
    node.value += 1


def _less(node: Any) -> None:
    node.value -= 1


def _lengthen(node: Any) -> None:
    node.value += "x"


def _negate_test(node: ast.If | ast.While) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _leave_last_out(node: ast.FunctionDef | ast.For | ast.While | ast.If) -> None:
    node.body.pop()
