"""A function is run to see what is right, its inputs have to be tests, and a program is held to all of them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.languages import LANGUAGES
from ethos.synthesis.translation.candidates import program_in, rejection_of
from ethos.synthesis.translation.oracles import Oracle, Rejection, oracle_of
from ethos.synthesis.translation.references import references_in

PHP = LANGUAGES["php"]
SIGNS = '''\
def signs(numbers: list[int]) -> dict[str, int]:
    """How many are above and below zero."""
    above = 0
    below = 0
    for number in numbers:
        if number > 0:
            above += 1
        elif number < 0:
            below += 1
    return {"above": above, "below": below}
'''
RIGHT = """\
function signs($numbers) {
    $above = 0; $below = 0;
    foreach ($numbers as $number) { if ($number > 0) { $above++; } elseif ($number < 0) { $below++; } }
    return ['above' => $above, 'below' => $below];
}"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def made(
    folder: Path, sandbox: Sandbox, text: str = SIGNS, inputs: int = 40, killed: float = 0.8
) -> Oracle | Rejection:
    (folder / "a.py").write_text(text)
    [reference] = references_in(folder)
    return asyncio.run(oracle_of(sandbox, reference, PHP, 0, inputs=inputs, coverage=0.9, killed=killed))


def test_what_is_right_is_what_the_function_returned(tmp_path: Path, sandbox: Sandbox) -> None:
    found = made(tmp_path, sandbox)
    assert isinstance(found, Oracle)
    assert (found.coverage, len(found.inputs)) == (1.0, 40)
    assert found.killed >= 0.8
    for (numbers,), expected in zip(found.inputs, found.expected, strict=True):
        assert expected == {"above": sum(n > 0 for n in numbers), "below": sum(n < 0 for n in numbers)}


def test_an_input_that_the_function_fails_on_is_none(tmp_path: Path, sandbox: Sandbox) -> None:
    found = made(tmp_path, sandbox, "def f(a: int, b: int) -> int:\n    return a // b\n", killed=0)
    assert isinstance(found, Oracle)
    assert len(found.inputs) < 40
    assert all(b != 0 for _, b in found.inputs)


def test_a_function_of_one_line_is_come_by(tmp_path: Path, sandbox: Sandbox) -> None:
    found = made(tmp_path, sandbox, "def f(x: int) -> int: return x * 2\n")
    assert isinstance(found, Oracle)
    assert found.coverage == 1.0


def test_an_input_without_a_result_in_time_is_left_out(tmp_path: Path, sandbox: Sandbox) -> None:
    text = 'def f(x: int) -> "Far":\n    """>>> f(7)"""\n    while x > 1000: x = x\n    return x\n'
    found = made(tmp_path, sandbox, text, killed=0)
    assert isinstance(found, Oracle)
    assert all(number <= 1000 for [number] in found.inputs)


def test_a_tuple_is_given_as_one(tmp_path: Path, sandbox: Sandbox) -> None:
    text = 'def f(p: tuple[int, int]) -> bool:\n    """>>> f((0, 0))"""\n    return p in {(0, 0)}\n'
    found = made(tmp_path, sandbox, text, killed=0)
    assert isinstance(found, Oracle)
    assert [expected for (p,), expected in zip(found.inputs, found.expected, strict=True) if p == (0, 0)] == [True]


def test_an_integer_is_a_float_where_the_annotation_says_so(tmp_path: Path, sandbox: Sandbox) -> None:
    returns = "'tuple[int, list[float], dict[str, float | None], int | float]'"
    text = f"def f(x: int) -> {returns}:\n    return (x, [0, x], {{'a': x, 'b': None}}, x)\n"
    found = made(tmp_path, sandbox, text, killed=0)
    assert isinstance(found, Oracle)
    for number, numbers, named, either in found.expected:
        kinds = [type(one) for one in (number, *numbers, *named.values(), either)]
        assert kinds == [int, float, float, float, type(None), int]


@pytest.mark.parametrize(
    ("text", "cause", "detail"),
    [
        ("def f(x: int) -> int:\n    raise SystemExit\n", "it doesn't run", "crashed: "),
        ("def f(x: int) -> int:\n    return 1 // 0\n", "too few inputs give a result", "0 of 40: ZeroDivision"),
        ("def f(x: list[int]) -> int:\n    x.append(1)\n    return 1\n", "too few inputs give a result", "it changes"),
        ("def f(x: int) -> int:\n    return 2 ** 64 + x\n", "too few inputs give a result", "0 of 40"),
        ("def f(x: int) -> dict[float, int]:\n    return {x / 2: 1}\n", "too few inputs give a result", "0 of 40"),
        ("def f(x: bool) -> int:\n    return len([x]) - 1\n", "too few inputs give a result", "2 of 2"),
        (
            "def f(x: int) -> int:\n    if x == 7654321:\n        y = 1\n        return y\n    return 0\n",
            "its inputs leave lines out",
            "they come by 50%",
        ),
        (
            "def f(x: int) -> int:\n    if x < 5:\n        y = 'below 5'\n        raise ValueError(y)\n    return x\n",
            "its inputs leave lines out",  # no program is held to what fails
            "they come by 50%",
        ),
        (
            "def f(x: int) -> int:\n    y = x + 1\n    y = x + 2\n    y = x + 3\n    return x\n",
            "its inputs pass changed functions",
            "% of 1. are found out",
        ),
    ],
)
def test_a_function_without_tests_worth_the_name_is_left_out(
    text: str, cause: str, detail: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    found = made(tmp_path, sandbox, text)
    assert isinstance(found, Rejection)
    assert found.cause == cause
    assert re.search(detail, found.detail)


def proof(folder: Path, sandbox: Sandbox, program: str) -> Rejection | None:
    found = made(folder, sandbox)
    assert isinstance(found, Oracle)
    return asyncio.run(rejection_of(sandbox, PHP, f"<?php\n{program}", found))


def test_a_program_that_returns_the_same_passes(tmp_path: Path, sandbox: Sandbox) -> None:
    assert proof(tmp_path, sandbox, RIGHT) is None
    assert proof(tmp_path, sandbox, f"echo 'hello';\n{RIGHT}") is None


@pytest.mark.parametrize(
    ("program", "cause", "details"),
    [
        (RIGHT[:-1], "can't be read", ["ParseError", "line"]),
        (RIGHT.replace("signs", "other"), "can't be read", ["it defines no function signs"]),
        (RIGHT.replace("$above++", "bump($above)"), "names what nothing defines", ["nothing defines bump"]),
        (f"{RIGHT}\necho 'so far'; exit(3);", "crashes", ["exit code 3", "it printed: so far"]),
        (f"{RIGHT}\nwhile (true) {{}}", "doesn't end", ["it was ended before"]),
        (f"{RIGHT}\nwhile (true) {{ echo str_repeat('x', 9999); }}", "prints without end", ["it was ended before"]),
        (
            RIGHT.replace("return [", "echo 'seen'; return $undefined ?? $numbers[99]; ["),
            "fails on an input",
            ["for ([", "it should return {'above': ", "but fails: ErrorException: Undefined array key", "seen"],
        ),
        (
            RIGHT.replace("$number < 0", "$number < -1"),
            "returns something else",
            ["it should return {'above': ", "but returns {'above': "],
        ),
    ],
)
def test_a_program_that_fails_is_told_why(
    program: str, cause: str, details: list[str], tmp_path: Path, sandbox: Sandbox
) -> None:
    found = proof(tmp_path, sandbox, program)
    assert found is not None
    assert found.cause == cause
    for detail in details:
        assert detail in found.detail


def test_a_program_that_names_the_inputs_it_was_shown_is_found_out(tmp_path: Path, sandbox: Sandbox) -> None:
    oracle = made(tmp_path, sandbox)
    assert isinstance(oracle, Oracle)
    pairs = list(zip(oracle.inputs, oracle.expected, strict=True))[: len(oracle.inputs) // 2]
    shown = ", ".join(f"'{json.dumps(given[0], separators=(',', ':'))}' => {value['above']}" for given, value in pairs)
    program = RIGHT.replace("return [", f"$above = [{shown}][json_encode($numbers)] ?? -1; return [")
    found = proof(tmp_path, sandbox, program)
    assert found is not None
    assert found.detail == "it is right for many inputs, and wrong for some that are not shown"


@pytest.mark.parametrize(
    ("reply", "program"),
    [
        ("Here:\n```php\n<?php\nf();\n```\nDone.", "<?php\nf();"),
        ("```\nf();\n```", "<?php\nf();"),
        ("```php\nf();\n```\nand\n```php\nfunction g() {}\n```", "<?php\nfunction g() {}"),
        ("  <?php f();\n", "<?php f();"),
        ("I can't do that.", None),
        ("```python\nlong_and_quoted()\n```\n```PHP\nf();\n```", "<?php\nf();"),
        ("```php\n// first\n<?php\nf();\n```", "// first\n<?php\nf();"),
        ("```php\n\n```", None),
        ("```php\nf();", None),
    ],
)
def test_the_program_of_a_reply_is_its_longest_block(reply: str, program: str | None) -> None:
    assert program_in(reply, PHP) == program
