"""Arguments for a function, from what its annotations say: small, varied, and near what its source compares with."""

from __future__ import annotations

import ast
import random
import string
from collections.abc import Callable
from typing import Any

from ethos.errors import EthosError
from ethos.sandbox.values import to_tagged
from ethos.synthesis.translation.references import Reference

_INTS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 10, 12, 16, 100)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, 0.1, 3.75, 10.0, 100.0)
_LONGEST = 6
_LIKE_EXAMPLES = 0.6  # of the inputs, where there are examples
_DEEPEST = 4
_WORDS = ("ab", "a", "b", "cat", "Act", "tab", "bat", "xyz", "A1", "0", "12", "x y", "Zed", "")


def generate(reference: Reference, count: int, seed: int) -> list[list[Any]]:
    """Up to `count` different lists of arguments, those that are shown first; the same for the same seed.

    Raises EthosError for an annotation that isn't made of int, float, bool, str, list, tuple, dict and None.
    """
    noise = random.Random(f"{seed}/{reference.name}")
    makers = [_maker(annotation, reference, noise) for annotation in reference.parameters]
    found = {repr(arguments): arguments for arguments in filter(_can_cross, reference.examples[:count])}
    shown = list(found.values())
    for _ in range(count * 4):
        arguments = [make() for make in makers]
        if shown and noise.random() < _LIKE_EXAMPLES:
            like = noise.choice(shown)
            places = [place for place in range(len(like)) if noise.random() < 0.7]
            arguments = [_near(like[at], noise) if at in places else arguments[at] for at in range(len(like))]
        if _can_cross(arguments):
            found.setdefault(repr(arguments), arguments)
        if len(found) == count:
            break
    return list(found.values())


def _can_cross(arguments: list[Any]) -> bool:
    """Whether other languages have such values."""
    try:
        to_tagged(arguments)
    except TypeError:
        return False
    return True


def _maker(annotation: ast.expr, reference: Reference, noise: random.Random, depth: int = 0) -> Callable[[], Any]:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = _parsed(annotation.value, reference)
    plain: dict[str, Callable[[], Any]] = {
        "int": lambda: _int(reference, noise),
        "float": lambda: _float(reference, noise),
        "bool": lambda: noise.random() < 0.5,
        "str": lambda: _text(reference, noise),
        "None": _none,
    }
    written = ast.unparse(annotation)
    if written in plain:
        return plain[written]

    def of(part: ast.expr) -> Callable[[], Any]:
        return _maker(part, reference, noise, depth + 1)

    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [of(annotation.left), of(annotation.right)]
        return lambda: noise.choice(sides)()
    if isinstance(annotation, ast.Subscript) and depth < _DEEPEST:
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        kind, longest = ast.unparse(annotation.value).removeprefix("typing.").lower(), _LONGEST - depth
        is_endless = len(parts) == 2 and ast.unparse(parts[1]) == "..."
        if kind in ("optional", "union"):
            choices: list[Callable[[], Any]] = [*map(of, parts), *([_none] if kind == "optional" else [])]
            return lambda: noise.choice(choices)()
        if (kind == "list" and len(parts) == 1) or (kind == "tuple" and is_endless):
            item = of(parts[0])
            if kind == "list":
                return lambda: [item() for _ in range(noise.randint(0, longest))]
            return lambda: tuple(item() for _ in range(noise.randint(0, longest)))
        if kind == "tuple":
            items = [*map(of, parts)]
            return lambda: tuple(make() for make in items)
        if kind == "dict" and len(parts) == 2 and ast.unparse(parts[0]) in ("int", "str"):
            key, item = of(parts[0]), of(parts[1])
            return lambda: {key(): item() for _ in range(noise.randint(0, longest))}
    raise EthosError(
        f"{reference.origin}: {reference.name} takes {written}, for which no value can be made; use int, float, bool, "
        "str, None, and list[…], tuple[…] and dict[…] of them, with int or str for keys"
    )


def _none() -> None:
    return None


def _parsed(annotation: str, reference: Reference) -> ast.expr:
    try:
        return ast.parse(annotation, mode="eval").body
    except SyntaxError as error:
        raise EthosError(f"{reference.origin}: {reference.name} takes {annotation!r}, which can't be read") from error


def _near(value: Any, noise: random.Random) -> Any:
    """A shown value, or one that differs from it a little."""
    if noise.random() < 0.3:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + noise.choice((-1, 1, 2))
    if isinstance(value, str) and value:
        place = noise.randrange(len(value))
        other = noise.choice((value[noise.randrange(len(value))], noise.choice("a0 "), ""))
        return value[:place] + other + value[place + 1 :]
    if isinstance(value, list | tuple) and value:
        place = noise.randrange(len(value))
        kept = [*value[:place], *value[place + 1 :]]
        changed = noise.choice((kept, [*value, value[place]], [*kept, value[place]]))
        if noise.random() < 0.5:
            changed = [*value[:place], _near(value[place], noise), *value[place + 1 :]]
        return changed if isinstance(value, list) else tuple(changed if len(changed) == len(value) else value)
    return value


def _int(reference: Reference, noise: random.Random) -> int:
    near = [value for value in reference.constants if isinstance(value, int) and abs(value) < 10**6]
    choice = noise.random()
    if near and choice < 0.3:
        return noise.choice(near) + noise.choice((-1, 0, 0, 1))
    if choice < 0.6:
        return noise.choice(_INTS)
    return noise.randint(-20, 60) if choice < 0.85 else noise.randint(-3000, 3000)


def _float(reference: Reference, noise: random.Random) -> float:
    near = [float(value) for value in reference.constants if isinstance(value, int | float) and abs(value) < 10**6]
    choice = noise.random()
    if near and choice < 0.25:
        return noise.choice(near)
    return noise.choice(_FLOATS) if choice < 0.5 else round(noise.uniform(-50, 150), 2)


def _text(reference: Reference, noise: random.Random) -> str:
    """ASCII: other languages count the bytes of a text where Python counts its characters."""
    near = [value for value in reference.constants if isinstance(value, str) and value.isascii()]
    choice = noise.random()
    if near and choice < 0.25:
        return noise.choice(near)
    if choice < 0.4:
        return noise.choice(_WORDS)
    if near and choice < 0.75:  # from the signs that it looks for, and some others
        signs = "".join(near) + noise.choice(("ab", "01", "aB ", "xx"))
        return "".join(noise.choice(signs) for _ in range(noise.randint(0, 12)))
    signs = noise.choice(
        (string.ascii_lowercase[:4], string.ascii_letters, string.digits, "aab  b1", string.printable[:95])
    )
    return "".join(noise.choice(signs) for _ in range(noise.randint(0, 14)))
