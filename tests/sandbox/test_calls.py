"""Functions of programs are called with what is given, and what they did is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import Called, Result, call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.types import Limits, SandboxUnavailable

ECHO = {"python": "def f(x):\n    return x\n", "php": "<?php\nfunction f($x)\n{\n    return $x;\n}\n"}
BOTH = pytest.mark.parametrize("language", ECHO)
VALUES = [None, True, 0, -(2**62), 1.5, -0.0, float("inf"), 1e300, "", "é\n$x 'q' \"d\"", b"\xff\x00", [1, [2.5, "x"]]]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def ran(sandbox: Sandbox, language: str, source: str, *inputs: Any, function: str | None = "f") -> Called:
    return asyncio.run(call(sandbox, LANGUAGES[language], source, function, [[one] for one in inputs]))


@BOTH
def test_values_go_in_and_come_out_as_they_are(language: str, sandbox: Sandbox) -> None:
    called = ran(sandbox, language, ECHO[language], *VALUES, {"a": 1, "7": [None]})
    assert called.results is not None
    *plain, mapped = (result.value for result in called.results)
    assert plain == VALUES
    assert [type(value) for value in plain] == [type(value) for value in VALUES]
    assert {str(key): value for key, value in mapped.items()} == {"a": 1, "7": [None]}


def test_php_has_no_larger_integers_and_says_so(sandbox: Sandbox) -> None:
    assert ran(sandbox, "php", ECHO["php"], 2**63, 1).results == (
        Result(error="RangeException: PHP has no integer 9223372036854775808"),
        Result(1),
    )


@pytest.mark.parametrize(
    ("language", "source", "error"),
    [
        ("python", "def f(x):\n    return x / 0", "ZeroDivisionError: division by zero"),
        ("python", "def f(x):\n    return y\n    y = 1", "UnboundLocalError: cannot access local variable 'y'"),
        ("python", "def f(x):\n    return {x}", "TypeError: a value of type set has no counterpart"),
        ("php", "<?php function f($x) { return intdiv($x, 0); }", "DivisionByZeroError: Division by zero"),
        ("php", "<?php function f($x) { return $y; }", "ErrorException: Undefined variable $y"),
        ("php", "<?php function f($x) { return [][$x]; }", "ErrorException: Undefined array key 1"),
        ("php", "<?php function f($x) { $g = 'g'; return $g($x); }", "Error: Call to undefined function g()"),
        (
            "php",
            "<?php function f($x) { return new stdClass; }",
            "TypeError: a value of type stdClass has no counterpart",
        ),
    ],
)
def test_a_call_that_fails_is_an_error_of_its_own(language: str, source: str, error: str, sandbox: Sandbox) -> None:
    called = ran(sandbox, language, source, 1, 1)
    assert called.results is not None
    assert len(called.results) == 2
    assert all((result.error or "").startswith(error) for result in called.results)


@pytest.mark.parametrize(
    ("language", "source", "unparsed"),
    [
        ("python", "def f(x) return x", "SyntaxError: expected ':'"),
        ("python", "def g(x): return x", "it defines no function f"),
        ("python", "f = 1", "it defines no function f"),
        ("php", "<?php", "it defines no function f"),
        ("php", "<?php function f($x) { return $x }", 'ParseError: syntax error, unexpected token "}"'),
        ("php", "<?php function g($x) { return $x; }", "it defines no function f"),
        ("php", "function f($x) { return $x; }", "it defines no function f"),  # text, without its opening tag
    ],
)
def test_a_program_that_can_not_be_read_is_told(language: str, source: str, unparsed: str, sandbox: Sandbox) -> None:
    called = ran(sandbox, language, source, 1)
    assert called.results is None
    assert (called.unparsed or "").startswith(unparsed)


UNDEFINED = [
    ("python", "def f(x):\n    if x:\n        return len(helper(y))\n    return x", ("helper", "y")),
    ("python", "def f(x):\n    def g():\n        return Point(x)\n    return g", ("Point",)),
    (
        "php",
        "<?php function f($x) { if ($x) { return array_helper(strlen(other($x))); } return $x; }",
        ("array_helper", "other"),
    ),
    ("php", "<?php namespace A; function f($x) { return \\strlen($x) + \\B\\gone($x); }", ("gone",)),
    ("php", "<?php function f($x) { return $x ? new Point($x) : $x; }", ("Point",)),
]


@pytest.mark.parametrize(("language", "source", "names"), UNDEFINED)
def test_a_program_that_names_what_nothing_defines_is_not_called(
    language: str, source: str, names: tuple[str, ...], sandbox: Sandbox
) -> None:
    """Also where no input would come by."""
    called = ran(sandbox, language, source, 0)
    assert (called.results, called.undefined) == (None, names)


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("python", "def f(x):\n    global y\n    y = x\n    return y"),
        ("python", "class P:\n    a: int = 1\n    b = a\ndef f(x):\n    import math\n    return math.floor(P.b * x)"),
        ("php", "<?php function f($x) { function g($y) { return $y; } return G($x); }"),
        (
            "php",
            "<?php class P { static function g($y) { new self(); return $y; } } function f($x) { return P::g($x); }",
        ),
        ("php", "<?php use function strlen as g; function f($x) { return $x + g(''); }"),
        ("php", "<?php function f($x) { return function_exists('gmp_abs') ? gmp_abs($x) : $x; }"),
        ("php", "<?php #[Attribute(1)] class P {} function f($x) { return $x; }"),
        ("python", "def f(x):\n    return x if True else len()"),
        ("php", "<?php function &f($x) { $h = fn ($y) => $y; $a = $h($x); return $a; }"),
        (
            "php",
            "<?php class P { function g($y) { return $y; } static function h($y) { return self::i($y); } "
            "static function i($y) { return (new static())->g($y); } } function f($x) { return P::h($x); }",
        ),
    ],
)
def test_what_a_program_defines_itself_is_known(language: str, source: str, sandbox: Sandbox) -> None:
    assert ran(sandbox, language, source, 3).results == (Result(3),)


def test_lines_that_calls_came_by_are_told_if_asked(sandbox: Sandbox) -> None:
    source = "def f(x):\n    if x > 2:\n        return 1\n    def g():\n        return 2\n    return g()\n"

    def coverage(*inputs: int, traced: bool = True) -> float | None:
        given = [[one] for one in inputs]
        return asyncio.run(call(sandbox, LANGUAGES["python"], source, "f", given, traced=traced)).coverage

    assert (coverage(3), coverage(1), coverage(3, 1)) == (0.4, 0.8, 1.0)
    assert coverage(3, traced=False) is None


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("python", "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x):\n    return P(x).x"),
        ("python", "from __future__ import annotations\ndef f(x: no_such_type):\n    return x"),
        ("php", "<?php declare(strict_types=1); namespace App; function F(int $x): int { return $x; }"),
        ("php", "<?php $table = [1 => 1]; function f($x) { global $table; return $table[$x]; }"),
        ("php", "<?php $asked = 1; function f($x) { return @file_get_contents('/none') === false ? $x : 0; }"),
        ("php", "<?php class P {} function f($x) { $p = new P; $p->x = $x; return $p->x; }"),
        ("php", "<?php class P { function __destruct() { echo 'late'; } } $p = new P; function f($x) { return $x; }"),
        ("php", "<?php function f($x) { while (ob_get_level()) { ob_end_clean(); } echo '[]'; return $x; }"),
        ("php", "<?php function f($x) { return ctype_digit('1') ? $x : 0; }"),
    ],
)
def test_programs_run_as_they_would_outside(language: str, source: str, sandbox: Sandbox) -> None:
    called = ran(sandbox, language, source, 1)
    assert called.results == (Result(1),), called


@pytest.mark.parametrize(
    "told",
    [
        *("", "{}", "[]", "null", "9", '{"results": 1}', '{"results": []}', '{"results": [{}]}'),
        *('{"results": [{"value": ["int", 1e999]}]}', '{"results": [{"value": ["float", 1]}]}', '{"results": [[]]}'),
    ],
)
def test_an_answer_of_its_own_is_none(told: str, sandbox: Sandbox) -> None:
    called = ran(sandbox, "python", f"import os\nos.write(3, {told!r}.encode() + b'\\n')\nos._exit(0)", 1)
    assert (called.results, called.unparsed, called.ending) == (None, None, "crashed")
    assert "no answer that can be read" in called.outcome.stderr


def test_what_is_told_can_be_written_anywhere(sandbox: Sandbox) -> None:
    called = ran(sandbox, "python", "def f(x):\n    raise ValueError(chr(0xd800))", 1)
    assert called.results == (Result(error="ValueError: ?"),)


def test_what_a_program_prints_is_no_answer(sandbox: Sandbox) -> None:
    for language, source in (
        ("python", "print('first')\ndef f(x):\n    print('x', x)\n    return 1"),
        ("php", "<?php echo 'first'; function f($x) { echo \"x $x\"; return 1; }"),
    ):
        called = ran(sandbox, language, source, "{}")
        assert called.results == (Result(1),)
        assert "first" in called.outcome.stderr
        assert "x {}" in called.outcome.stderr


def test_a_program_that_fails_as_it_is_read_has_crashed(sandbox: Sandbox) -> None:
    called = ran(sandbox, "python", "import no_such_module\ndef f(x): return x", 1)
    assert (called.results, called.ending) == (None, "crashed")
    assert "No module named 'no_such_module'" in called.outcome.stderr
    called = ran(sandbox, "php", "<?php function f($x) { return 1; } function f($x) { return 2; }", 1)
    assert (called.results, called.ending) == (None, "crashed")
    assert "Cannot redeclare f()" in called.outcome.stderr


def test_programs_do_not_see_each_other(sandbox: Sandbox) -> None:
    source = "import os\ndef f(x):\n    open(f'/tmp/{x}', 'w').close()\n    return sorted(os.listdir('/tmp'))"

    async def together() -> list[Called]:
        return await asyncio.gather(*(call(sandbox, LANGUAGES["python"], source, "f", [[str(n)]]) for n in range(6)))

    assert [called.results for called in asyncio.run(together())] == [(Result([str(n)]),) for n in range(6)]


def test_what_arrives_in_many_parts_is_whole(sandbox: Sandbox) -> None:
    """More than a pipe holds, both ways."""
    text = "x" * 700_000
    called = asyncio.run(call(sandbox, LANGUAGES["python"], ECHO["python"], "f", [[text]], Limits(output_bytes=2**21)))
    assert called.results == (Result(text),)


def test_a_language_that_is_not_installed_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match=r"no php on the path; install it \(Debian: apt install php-cli\)"):
        ran(sandbox, "php", ECHO["php"], 1)
