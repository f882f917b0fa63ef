"""A run of `ethos run` as a command, its report, and figures kept beside a page: what the benches that train share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml


def report_of(config: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """Runs a config, or goes on where it was stopped, and reads the report. Paths in it must be absolute."""
    path = runs_dir / f"{config['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ethos", "run", str(path), "--runs-dir", str(runs_dir)], check=True)
    report: dict[str, Any] = json.loads((runs_dir / config["name"] / "report.json").read_text(encoding="utf-8"))
    return report


def kept_figures(path: Path, inputs_of: Callable[[str], str | None]) -> dict[str, Any]:
    """The figures of earlier calls by name, as far as their inputs' digest is what `inputs_of` tells now."""
    there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: found for name, found in there.items() if found["inputs"] == inputs_of(name)}


def keep_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes them for the next call."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(figures), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
