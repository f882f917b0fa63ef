"""Runs inside the sandbox: defines what a Python program defines, and calls one of its functions on each input.

What the program prints goes to standard error, so that the last line of standard output is this file's own.
"""

from __future__ import annotations

import builtins
import dis
import json
import os
import signal
import sys
from types import CodeType, FrameType, ModuleType
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from values import from_tagged, to_tagged  # type: ignore[import-not-found]  # beside it in the sandbox

_TRACED_CPU_S = 0.2  # of a call whose lines are noted


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
    defined = {*vars(program), *vars(builtins), *_globals_of(code, "STORE_GLOBAL")}
    if undefined := sorted(_globals_of(code, "LOAD_GLOBAL") - defined):
        return {"undefined": undefined}
    if not asked["traced"]:
        return {"results": [_result(function, arguments) for arguments in asked["inputs"]]}
    lines, visited = _lines_of(function.__code__), set[int]()
    results = [_traced(function, arguments, visited) for arguments in asked["inputs"]]
    return {"results": results, "coverage": len(lines & visited) / len(lines) if lines else 1.0}


def _traced(function: Any, arguments: list[Any], visited: set[int]) -> dict[str, Any]:
    """The result of a call that may take little time and may not change what it is given; then, where it came by."""
    here: set[int] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != "program.py":
            return None
        here.add(frame.f_lineno)
        return trace

    def give_up(*_: object) -> None:
        raise TimeoutError(f"no result within {_TRACED_CPU_S} s of CPU")

    given = [from_tagged(one) for one in arguments]
    signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, _TRACED_CPU_S)
    sys.settrace(trace)
    try:
        value = to_tagged(function(*given))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    finally:
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if [to_tagged(one) for one in given] != arguments:
        return {"error": "it changes what it is given"}
    visited |= here
    return {"value": value}


def _globals_of(code: CodeType, step: str) -> set[str]:
    """Names of its module that functions within it read (LOAD_GLOBAL) or set (STORE_GLOBAL)."""
    own = {str(found.argval) for found in dis.get_instructions(code) if found.opname == step}
    return own.union(*(_globals_of(inner, step) for inner in code.co_consts if isinstance(inner, CodeType)))


def _lines_of(code: CodeType) -> set[int]:
    """Those that do something, in functions within it too."""
    own = {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}
    return own.union(*(_lines_of(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _result(function: Any, arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"value": to_tagged(function(*[from_tagged(one) for one in arguments]))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


main()
