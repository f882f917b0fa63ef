"""A run of `ethos run` as a command, and its report: what the benches that train have in common."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
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
