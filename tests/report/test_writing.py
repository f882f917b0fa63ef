from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ethos.report.inputs import ReportInputs
from ethos.report.report import build_report
from ethos.report.writing import write_report


def test_both_files_are_written_and_nothing_else(report: dict[str, Any], tmp_path: Path) -> None:
    html_path, json_path = write_report(report, tmp_path)
    assert {html_path, json_path} == set(tmp_path.iterdir())
    assert json.loads(json_path.read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    assert html_path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_invalid_report_raises_and_the_old_one_stays(report: dict[str, Any], tmp_path: Path) -> None:
    html_path, json_path = write_report(report, tmp_path)
    before = html_path.read_bytes(), json_path.read_bytes()
    with pytest.raises(jsonschema.ValidationError):
        write_report(report | {"overall": {}}, tmp_path)
    assert (html_path.read_bytes(), json_path.read_bytes()) == before


def test_half_a_surrogate_pair_in_a_reply_is_survived(example: ReportInputs, tmp_path: Path) -> None:
    readings = tuple(replace(r, reply="broken \ud83d emoji") for r in example.readings)
    html_path, json_path = write_report(build_report(replace(example, readings=readings)), tmp_path)
    assert "broken ? emoji" in html_path.read_text(encoding="utf-8")
    assert "broken ? emoji" in json_path.read_text(encoding="utf-8")


def test_importing_the_room_loads_no_plotting_library() -> None:
    modules = "ethos.report.report, ethos.report.writing, ethos.report.terminal, ethos.report.html"
    code = (
        f"import sys, {modules}; print([m for m in ('matplotlib', 'jinja2', 'jsonschema', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
