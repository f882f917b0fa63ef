"""The report's table in a terminal: clause by clause, then over all, then paths and warnings.

Piped, it is plain text of at most 80 columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SUMMARIES = (
    ("overall", "all clauses"),
    ("checked", "checked clauses"),
    ("judged", "judged clauses"),
    ("in_context", "in trained contexts"),
    ("out_of_context", "outside of them"),
)


def print_table(report: Mapping[str, Any], console: Console, paths: Sequence[Path] = ()) -> None:
    """Prints the figures of `report`, then `paths`, then its warnings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
    table.add_column("clause", overflow="ellipsis", no_wrap=True, ratio=1)
    for name in ("base", "prompted", "trained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("trained - base", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for clause in report["clauses"]:
        if clause["measurable"]:
            table.add_row(Text(clause["id"]), *_cells(clause))
        else:
            table.add_row(Text(clause["id"], style="dim"), "", "", "", Text("not measurable", style="dim"), "")
    table.add_section()
    if not console.is_terminal:
        table.add_row()
    for key, label in SUMMARIES:
        figures = report["overall"] if key == "overall" else report["overall"][key]
        table.add_row(label, *_cells(figures), style="bold" if key == "overall" else None)
    console.print(table)
    _print_lines(report, console, paths)


def _print_lines(report: Mapping[str, Any], console: Console, paths: Sequence[Path]) -> None:
    over_prompted, placebo = report["overall"]["over_prompted"], report["placebo"]
    console.print()
    console.print(f"trained - prompted   {_difference(over_prompted)}", highlight=False, markup=False)
    if placebo is not None:
        console.print(f"trained - placebo    {_difference(placebo)}", highlight=False, markup=False)
    for label, text in _canary_lines(report["canaries"]):
        console.print(f"{label:<20} {text}", highlight=False, markup=False)
    if paths:
        console.print()
    for path in paths:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    for kind in ("failures", "warnings"):
        for message in report[kind]:
            label = {"failures": "failed", "warnings": "warning"}[kind]
            console.print(f"{label}: {message}", style="yellow", highlight=False, markup=False)


def _canary_lines(canaries: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if "questions" in canaries:
        answers = canaries["questions"]
        verdict = "kept" if answers["passed"] else "FELL below its limit"
        lines.append(("questions right", f"{_difference(answers)}  {verdict}"))
    if "perplexity" in canaries:
        ratio = canaries["perplexity"]
        low, high = ratio["interval"]
        verdict = "kept" if ratio["passed"] else "ROSE above its limit"
        lines.append(("perplexity, ratio", f"{ratio['ratio']:5.2f} [{low:.2f}, {high:.2f}]  {verdict}"))
    return lines


def _cells(figures: Mapping[str, Any]) -> list[str]:
    arms = [_share(figures[arm]) for arm in ("base", "prompted", "trained")]
    return [*arms, _difference(figures), str(figures["n"])]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _difference(figures: Mapping[str, Any]) -> str:
    if figures["difference"] is None:
        return "-"
    low, high = figures["interval"]
    return f"{figures['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
