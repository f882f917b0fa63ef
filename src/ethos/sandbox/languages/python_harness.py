"""Runs inside the sandbox: defines what a Python program defines, and calls one of its functions on each input.

What the program prints goes to standard error, so that the last line of standard output is this file's own.
"""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from values import from_tagged, to_tagged  # type: ignore[import-not-found]  # beside it in the sandbox


def main() -> None:
    """Reads what is asked, and tells what came of it."""
    asked = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        json.dump(_answers(asked), out)
        out.write("\n")


def _answers(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        code = compile(asked["source"], "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return {"unparsed": f"{type(error).__name__}: {error}"}
    program = sys.modules["program"] = ModuleType("program")  # where a dataclass looks for its own module
    exec(code, program.__dict__)
    if asked["function"] is None:
        return {"results": []}
    function = getattr(program, asked["function"], None)
    if not callable(function):
        return {"unparsed": f"it defines no function {asked['function']}"}
    return {"results": [_result(function, arguments) for arguments in asked["inputs"]]}


def _result(function: Any, arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"value": to_tagged(function(*[from_tagged(one) for one in arguments]))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


main()
