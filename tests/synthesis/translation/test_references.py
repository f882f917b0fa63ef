"""Functions are found with their annotations, constants and examples; what can't be used is told with its place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.synthesis.translation.inputs import generate
from ethos.synthesis.translation.mutants import mutants_of
from ethos.synthesis.translation.references import Reference, digest_of, references_in

CLAMP = '''\
def clamp(number: float, low: int, high: int | None = 9) -> float:
    """Within 7 limits.

    >>> clamp(3.5, 0, 2)
    >>> clamp(-1.0, 0, None)
    """
    if number < low:
        return low - 0.25
    return number if high is None or not number > high else high
'''


def references(folder: Path, text: str = CLAMP) -> list[Reference]:
    (folder / "a.py").write_text(text)
    return references_in(folder)


def test_a_function_is_found_with_what_may_be_given(tmp_path: Path) -> None:
    [clamp] = references(tmp_path, f"import math\n\n\n{CLAMP}")
    assert (clamp.name, clamp.source, clamp.origin) == ("clamp", CLAMP.rstrip("\n"), f"{tmp_path / 'a.py'}:4")
    assert [ast.unparse(annotation) for annotation in clamp.parameters] == ["float", "int", "int | None"]
    assert clamp.constants == (9, 0.25)  # what the docstring says decides nothing
    assert clamp.examples == ([3.5, 0, 2], [-1.0, 0, None])


def test_files_of_a_folder_come_in_order_and_their_place_changes_no_digest(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "b.py").write_text("def b(x: int) -> int:\n    return x\n")
        (tmp_path / folder / "a.py").write_text("def a(x: int) -> int:\n    return x\n")
    one, other = (references_in(tmp_path / folder) for folder in ("one", "other"))
    assert [reference.name for reference in one] == ["a", "b"]
    assert digest_of(one) == digest_of(other) != digest_of(one[:1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "no function at the top"),
        ("def f(x: int)\n", "can't be read as Python"),
        ("def f(x):\n    return x\n", "a.py:1: x of f has no annotation; say what it may be"),
        ("def f(*x: int):\n    return x\n", "a.py:1: f takes arguments by keyword alone, or any number"),
        ("def f(*, x: int):\n    return x\n", "f takes arguments by keyword alone"),
        ("async def f(x: int):\n    return x\n", "a.py:1: f is async or decorated"),
        ("from functools import cache\n@cache\ndef f(x: int):\n    return x\n", "a.py:3: f is async or decorated"),
        (
            "import math\ndef f(x: int):\n    return math.pi + y\n",
            "f uses math, y, which it doesn't define; .* into it",
        ),
    ],
)
def test_what_can_not_be_used_is_told_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=told):
        references(tmp_path, text)


@pytest.mark.parametrize(
    "body",
    [
        "import math\n    return math.floor(x)",
        "def g(y: 'Far') -> Far:\n        return f(y) if y else [z for z in range(y)]\n    return g(x)",
        "return sorted([x], key=lambda y: -y)",
    ],
)
def test_what_a_function_brings_itself_is_not_missing(body: str, tmp_path: Path) -> None:
    assert references(tmp_path, f"def f(x: int) -> Near:\n    {body}\n")


@pytest.mark.parametrize(
    "shown", [">>> g(1)", ">>> f(1, 2)", ">>> f(y)", ">>> f(x=1)", ">>>f(1)", ">>> round(f(1), 2)", ">>> f({[1]: 2})"]
)
def test_an_example_that_is_no_plain_call_is_not_used(shown: str, tmp_path: Path) -> None:
    [reference] = references(tmp_path, f'def f(x: int):\n    """>>> f(7)\n    {shown}\n    """\n    return x\n')
    assert reference.examples == (() if shown.startswith(">>>f") else ([7],))  # doctest reads none of the others then


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"no\.py: can't be read"):
        references_in(tmp_path / "no.py")


def test_inputs_are_different_of_the_kinds_that_are_asked_for_and_the_same_for_a_seed(tmp_path: Path) -> None:
    text = (
        "def f(a: int, b: float, c: bool, d: str, e: list[tuple[int, str]], g: dict[str, int | None], h: None):\n"
        "    return 0\n"
    )
    [reference] = references(tmp_path, text)
    found = generate(reference, 40, 0)
    assert len({repr(arguments) for arguments in found}) == 40
    for a, b, c, d, e, g, h in found:
        assert [type(one) for one in (a, b, c, d, h)] == [int, float, bool, str, type(None)]
        assert d.isascii()
        assert all(isinstance(pair, tuple) and [*map(type, pair)] == [int, str] for pair in e)
        assert all(isinstance(key, str) and (value is None or type(value) is int) for key, value in g.items())
    assert found == generate(reference, 40, 0) != generate(reference, 40, 1)


def test_inputs_begin_with_those_that_are_shown(tmp_path: Path) -> None:
    [clamp] = references(tmp_path)
    assert generate(clamp, 30, 0)[:2] == [[3.5, 0, 2], [-1.0, 0, None]]


@pytest.mark.parametrize(
    ("annotation", "kinds"),
    [
        ("'int'", {int}),
        ("Optional[str]", {str, type(None)}),
        ("typing.Union[int, bool]", {int, bool}),
        ("List[int]", {list}),
        ("tuple[int, ...]", {tuple}),
        ("Tuple[str, float]", {tuple}),
        ("Dict[str, 'list[int]']", {dict}),
    ],
)
def test_annotations_may_be_written_in_the_older_ways(annotation: str, kinds: set[type], tmp_path: Path) -> None:
    [reference] = references(tmp_path, f"def f(x: {annotation}):\n    return x\n")
    assert {type(x) for [x] in generate(reference, 60, 0)} == kinds


@pytest.mark.parametrize("annotation", ["set[int]", "list", "dict[float, int]", "Any", "'list['"])
def test_an_input_that_can_not_be_made_is_told(annotation: str, tmp_path: Path) -> None:
    [reference] = references(tmp_path, f"def f(x: {annotation}):\n    return x\n")
    with pytest.raises(EthosError, match=r"a\.py:1: f takes .*(; use int, float|, which can't be read)"):
        generate(reference, 3, 0)


def test_keys_that_are_one_as_text_are_in_no_input(tmp_path: Path) -> None:
    text = 'def f(x: dict[int, int]):\n    """\n    >>> f({1: 0, "1": 1})\n    >>> f({3: 0})\n    """\n    return x\n'
    [reference] = references(tmp_path, text)
    assert len(reference.examples) == 2
    assert generate(reference, 5, 0)[0] == [{3: 0}]


def test_mutants_differ_from_the_function_in_one_place_and_never_in_its_docstring(tmp_path: Path) -> None:
    [clamp] = references(tmp_path)
    found = mutants_of(clamp, 100, 0)
    assert len(set(found)) == len(found)
    without = CLAMP[: CLAMP.index('    """')] + CLAMP[CLAMP.index("    if") :]
    original = ast.unparse(
        ast.parse(without.replace("number: float, low: int, high: int | None = 9) -> float", "number, low, high)"))
    )
    for mutant in found:
        lines, changed = original.splitlines(), mutant.splitlines()
        assert sum(one != other for one, other in zip(lines, changed, strict=False)) + len(lines) - len(changed) == 1
    changes = {line.strip() for mutant in found for line in mutant.splitlines()} - {
        line.strip() for line in original.splitlines()
    }
    assert changes == {
        "if number <= low:",
        "if not number < low:",
        "return low + 0.25",
        "return low - 1.25",
        "return low - -0.75",
        "return number if high is None and (not number > high) else high",
        "return number if high is not None or not number > high else high",
        "return number if high is None or not number >= high else high",
        "return number if high is None or +bool(number > high) else high",
    }
    assert mutants_of(clamp, 3, 0) == found[:3]
