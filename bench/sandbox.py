"""Programs a second, each in a sandbox of its own: `python bench/sandbox.py`. Prints JSON; half a minute.

Every program is a function that is called on ten inputs. The peer is the language's interpreter, started on nothing and
with nothing around it, as many at a time. Rounds alternate.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from race import machine, race

from ethos.process import available_cores
from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.self_test import open_sandbox

PROGRAMS, ROUNDS = 200, 3
TARGET_PHP = 60  # programs a second on two cores
BARE = {"python": ["/usr/bin/python3", "-S", "-c", ""], "php": ["/usr/bin/php", "-n", "-r", ""]}
INPUTS = [[list(range(n, n + 20))] for n in range(10)]
SOURCES = {
    "python": "def f(numbers):\n    return {str(n): sum(numbers[:n]) * %d for n in numbers}\n",
    "php": "<?php\nfunction f($numbers)\n{\n    $sums = [];\n    foreach ($numbers as $n) {\n"
    "        $sums[$n] = array_sum(array_slice($numbers, 0, $n)) * %d;\n    }\n    return $sums;\n}\n",
}


def main() -> None:
    """Measures each language, and prints."""
    print(json.dumps({"machine": machine(), **{name: measure(name) for name in SOURCES}}, indent=1))


def measure(name: str) -> dict[str, object]:
    """Of one language."""
    language, sandbox = LANGUAGES[name], asyncio.run(open_sandbox())

    async def inside(number: int) -> None:
        sources = [SOURCES[name] % (n + number * PROGRAMS) for n in range(PROGRAMS)]
        for called in await asyncio.gather(*(call(sandbox, language, source, "f", INPUTS) for source in sources)):
            assert called.results is not None, called.outcome
            assert len(called.results) == len(INPUTS)

    def ours(number: int) -> float:
        began = time.perf_counter()
        asyncio.run(inside(number))
        return PROGRAMS / (time.perf_counter() - began)

    def bare(_: int) -> None:
        subprocess.run(BARE[name], stdin=subprocess.DEVNULL, check=True)

    def outside(number: int) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(available_cores()) as threads:
            list(threads.map(bare, range(number * PROGRAMS, (number + 1) * PROGRAMS)))
        return PROGRAMS / (time.perf_counter() - began)

    found = race(ours, outside, ROUNDS).to_dict("programs/s", 0)
    del found["target"], found["reached"]  # those are of the ratio
    if name != "php":
        return found
    return found | {"target": f"{TARGET_PHP} programs/s", "reached": found["ours"] >= TARGET_PHP}


if __name__ == "__main__":
    main()
