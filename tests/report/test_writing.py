from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ethos.errors import EthosError
from ethos.report.inputs import ReportInputs
from ethos.report.report import build_report
from ethos.report.writing import html_of, read_report, write_report


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


def test_a_page_that_is_gone_is_rendered_again_and_one_that_is_there_stays(
    report: dict[str, Any], tmp_path: Path
) -> None:
    html_path, json_path = write_report(report, tmp_path)
    page = html_path.read_bytes()
    html_path.unlink()
    assert html_of(read_report(json_path), tmp_path) == html_path
    assert html_path.read_bytes() == page
    html_path.write_text("mine")
    html_of(report, tmp_path)
    assert html_path.read_text() == "mine"


def test_a_page_that_can_not_be_written_is_one_sentence(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("ethos.report.writing.write_atomically", full)
    with pytest.raises(EthosError, match=r"report.html: is gone and can't be written again \(Read-only file system\)"):
        html_of(report, tmp_path)
