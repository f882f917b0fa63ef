"""Runs every bench against its peers, and writes bench/RESULTS.md: `make bench`. About two hours on two cores.

Each bench is a command of its own; figures are kept in RESULTS.json as they come, and one that is there is not measured
again while the rooms that it measures and bench/ are as they were. So a run that was stopped goes on. Figures of an
earlier state are marked on the page until they are measured again.
`python bench/all.py sampling dense` runs those alone.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from finished_run import keep_figures

HERE = Path(__file__).parent
FIGURES, PAGE = HERE / "RESULTS.json", HERE / "RESULTS.md"
ENGINE, CORE = ("models", "process.py"), ("models", "training", "process.py")
BENCHES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "startup": (["startup.py"], ("",)),
    "parsing": (["parsing.py"], ("spec",)),
    "engine": (["engine.py"], CORE),
    "demonstrations": (["objectives.py", "demonstrations"], CORE),
    "preferences": (["objectives.py", "preferences"], CORE),
    "rewards": (["objectives.py", "rewards"], CORE),
    "memory": (["objectives.py", "memory"], CORE),
    "sampling": (["generation.py", "sampling"], ENGINE),
    "teacher": (["generation.py", "teacher"], ENGINE),
    "dense": (["dense.py"], CORE),
    "sandbox": (["sandbox.py"], ("sandbox",)),
}
"""Of each its command, and the rooms of src/ethos that its figures depend on."""
SHARED = ("race.py", "work.py", "peers")  # of bench/, beside the command's own file
UNTIMED = ("endpoints", "cached.py", "chorus.py", "refusals.py", "vllm_server.py")
"""Of src/ethos/models what no bench here runs: models that answer over the network, and what stands before them."""


def main() -> None:
    """Measures what is missing, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benches", nargs="*", choices=(*BENCHES, []), default=[])
    wanted = parser.parse_args().benches or list(BENCHES)
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    failed: list[str] = []
    for name in wanted:
        if name in figures and _is_of_this_state(name, figures):
            continue
        command, inputs = BENCHES[name][0], _sources(name)  # before it is measured: what changes meanwhile is not in it
        print(f"{name}: python bench/{' '.join(command)}", file=sys.stderr, flush=True)
        script = [sys.executable, str(HERE / command[0]), *command[1:]]
        ended = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=False)
        if ended.returncode:
            failed.append(name)
            continue
        figures[name] = {"inputs": inputs, "found": json.loads(ended.stdout)}
        keep_figures(FIGURES, figures)
    PAGE.write_text(page(figures), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
    if failed:
        sys.exit(f"failed, as told above: {', '.join(failed)}; the others are kept, and the same command goes on")


def _is_of_this_state(name: str, figures: dict[str, Any]) -> bool:
    return bool(figures[name]["inputs"] == _sources(name))


def _sources(name: str) -> str:
    """A digest of the code that a bench's figures depend on."""
    command, rooms = BENCHES[name]
    seen = hashlib.sha256(" ".join(command).encode())
    for place in [HERE.parent / "src" / "ethos" / room for room in rooms] + [HERE / n for n in (command[0], *SHARED)]:
        files = (
            [path for path in place.rglob("*") if path.suffix in (".py", ".c", ".php", ".txt")]
            if place.is_dir()
            else [place]
        )
        for path in sorted(files):
            if not any((HERE.parent / "src" / "ethos" / "models" / part) in (path, *path.parents) for part in UNTIMED):
                seen.update(_code(path))
    return seen.hexdigest()


def _code(path: Path) -> bytes:
    """What a file does: of Python without comments and docstrings."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_words(part)]
    return ast.unparse(tree).encode()


def _is_words(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)


def page(figures: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Benches",
        "",
        "Written by `make bench`. Ratios are medians of rounds that alternate in one run: absolute figures drift with",
        "the machine. Those with a * are of an earlier state of the code: the next `make bench` measures them again.",
        "",
        "| bench | peer | unit | ours | peer's | ratio | target | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figure in sorted(figures.items(), key=lambda found: list(BENCHES).index(found[0])):
        mark = "" if _is_of_this_state(name, figures) else " *"
        for peer, found in _races(figure["found"]):
            cells = [found[key] for key in ("unit", "ours", "peer", "ratio", "target")]
            if "peak_share" in found:
                cells[0] += f", at {found['peak_share']} of the peer's peak memory"
            if "ceiling" in found:
                cells[4] = f"{cells[4]} (bare products: {found['ceiling']})"
            lines.append(
                f"| {name}{mark} | {peer} | {' | '.join(map(str, cells))} | {'yes' if found['reached'] else 'no'} |"
            )
    lines += ["", "Machine and all figures:", "", "```json", json.dumps(figures, indent=1), "```"]
    return "\n".join(lines) + "\n"


def _races(found: Any, name: str = "", peer: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Every race in what a bench printed, with its peer: the one that is named above it, else its own name."""
    if not isinstance(found, dict):
        return []
    if "reached" in found:
        return [(peer or name, found)]
    peer = found.get("peer", peer)
    inner = [_races(value, str(key), peer) for key, value in found.items() if key != "machine"]
    return [race for races in inner for race in races]


if __name__ == "__main__":
    main()
