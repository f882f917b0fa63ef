from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ethos.report.inputs import ReportInputs
from ethos.report.report import build_report
from ethos.report.terminal import print_table


def piped(report: dict[str, Any], paths: tuple[Path, ...] = ()) -> str:
    file = io.StringIO()
    print_table(report, Console(file=file, width=80), paths)
    return file.getvalue()


def test_piped_output_is_plain_and_fits_80_columns(report: dict[str, Any]) -> None:
    text = piped(report)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def test_each_clause_has_a_line_with_its_figures(report: dict[str, Any]) -> None:
    lines = {line.split()[0]: line.split() for line in piped(report).splitlines() if line.split()}
    for clause in report["clauses"]:
        cells = lines[clause["id"]][1:]
        if clause["measurable"]:
            low, high = clause["interval"]
            assert cells[:3] == [f"{clause[arm]:.2f}" for arm in ("base", "prompted", "trained")]
            assert cells[3:] == [f"{clause['difference']:+.2f}", f"[{low:+.2f},", f"{high:+.2f}]", str(clause["n"])]
        else:
            assert cells == ["not", "measurable"]


def test_columns_are_aligned(report: dict[str, Any]) -> None:
    lines = piped(report).splitlines()
    ends = lines[0].index("trained") + len("trained")
    rows = [line for line in lines[1:] if line.startswith(("name", "brevity", "all clauses", "outside"))]
    assert len(rows) == 4
    assert all(row[ends - 4 : ends].replace(".", "").isdigit() and row[ends] == " " for row in rows)


def test_long_ids_are_cut_and_markup_in_ids_is_shown(example: ReportInputs) -> None:
    clauses = (replace(example.spec.clauses[0], id="[bold]" + "x" * 70), *example.spec.clauses[1:])
    readings = tuple(replace(r, clause_id=clauses[0].id) if r.clause_id == "name" else r for r in example.readings)
    text = piped(build_report(replace(example, spec=replace(example.spec, clauses=clauses), readings=readings)))
    assert "[bold]xxx" in text
    assert max(map(len, text.splitlines())) <= 80


def test_paths_and_warnings_follow_the_table(report: dict[str, Any]) -> None:
    path = Path("runs") / ("long-" * 20) / "report.html"
    lines = piped(report, (path,)).splitlines()
    assert str(path) in lines
    assert any(line.startswith("warning: same judge") for line in lines)
    assert any(line.startswith("failed: one document") for line in lines)


def test_a_canary_beyond_its_limit_says_so(report: dict[str, Any]) -> None:
    questions = report["canaries"]["questions"] | {"passed": False}
    assert "FELL below its limit" in piped(report | {"canaries": {"questions": questions}})
    assert "FELL" not in piped(report)


def test_a_report_without_figures_prints(example: ReportInputs) -> None:
    assert "not measurable" in piped(build_report(replace(example, readings=(), base_canary=None)))
