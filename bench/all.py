"""Runs every bench against its peers, and writes bench/RESULTS.md: `make bench`. About two hours on two cores.

Each bench is a command of its own; figures are kept in RESULTS.json as they come, and one that is there is not measured
again while nothing in src/ or bench/ has changed since. So a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from finished_run import keep_figures, kept_figures

HERE = Path(__file__).parent
FIGURES, PAGE = HERE / "RESULTS.json", HERE / "RESULTS.md"
COMMANDS = {
    "startup": ["startup.py"],
    "parsing": ["parsing.py"],
    "engine": ["engine.py"],
    "demonstrations": ["objectives.py", "demonstrations"],
    "preferences": ["objectives.py", "preferences"],
    "rewards": ["objectives.py", "rewards"],
    "memory": ["objectives.py", "memory"],
    "sampling": ["generation.py", "sampling"],
    "teacher": ["generation.py", "teacher"],
    "dense": ["dense.py"],
}


def main() -> None:
    """Measures what is missing, then writes the page."""
    now = _sources()
    figures = kept_figures(FIGURES, lambda name: now if name in COMMANDS else None)
    for name, command in COMMANDS.items():
        if name in figures:
            continue
        print(f"{name}: python bench/{' '.join(command)}", file=sys.stderr, flush=True)
        script = [sys.executable, str(HERE / command[0]), *command[1:]]
        ended = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True)
        figures[name] = {"inputs": now, "found": json.loads(ended.stdout)}
        keep_figures(FIGURES, figures)
        PAGE.write_text(page(figures), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def _sources() -> str:
    """A digest of all code that a figure may depend on."""
    seen = hashlib.sha256()
    for folder in (HERE.parent / "src", HERE):
        for path in sorted(folder.rglob("*.py")):
            seen.update(path.read_bytes())
    return seen.hexdigest()


def page(figures: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Benches",
        "",
        "Written by `make bench`. Ratios are medians of rounds that alternate in one run: absolute figures drift with",
        "the machine.",
        "",
        "| bench | peer | unit | ours | peer's | ratio | target | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figure in figures.items():
        for peer, found in _races(figure["found"]):
            cells = [found[key] for key in ("unit", "ours", "peer", "ratio", "target")]
            lines.append(f"| {name} | {peer} | {' | '.join(map(str, cells))} | {'yes' if found['reached'] else 'no'} |")
    lines += ["", "Machine and all figures:", "", "```json", json.dumps(figures, indent=1), "```"]
    return "\n".join(lines) + "\n"


def _races(found: Any, peer: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every race in what a bench printed, with the name of its peer."""
    if not isinstance(found, dict):
        return []
    if "ratios" in found:
        return [(peer, found)]
    peer = found.get("peer", peer) if isinstance(found.get("peer"), str) else peer
    inner = [_races(value, peer or str(name)) for name, value in found.items() if name != "machine"]
    return [race for races in inner for race in races]


if __name__ == "__main__":
    main()
