"""`ethos run` and `ethos report`: the main job, what it would do, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from ethos.cli.lookup import find_run
from ethos.errors import EthosError
from ethos.store.config.run import load_config


def run(config: Path, runs_dir: Path) -> None:
    """Runs or continues the main job, and prints its report."""
    from ethos.progress import progress_for

    load_config(config)  # a mistake in it is told at once, before torch is loaded
    from ethos.runs import launch

    try:
        outcome = launch.run(config, runs_dir, progress_for())
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; nothing is lost: run the same command to go on", err=True)
        raise typer.Exit(130) from None
    _print_report(outcome.report, outcome.run_dir, outcome.html, outcome.json)


def show_plan(config: Path) -> None:
    """Prints the resolved config and what it leads to."""
    import yaml

    resolved = load_config(config)
    from ethos.runs.plan import plan

    planned = plan(resolved, config.resolve().parent)
    typer.echo(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    typer.echo("\n".join(planned.lines()))


def show_report(name: str) -> None:
    """Prints the report of a run that is finished."""
    from ethos.report.writing import html_of, read_report

    run = find_run(name)
    try:
        report = read_report(run.report_json)
    except FileNotFoundError as error:
        raise EthosError(f"{run.path}: has no report yet; it is written when `ethos run` is through") from error
    except ValueError as error:
        raise EthosError(f"{run.report_json}: the file is damaged; `ethos run` again writes it anew") from error
    _print_report(report, run.path, html_of(report, run.path), run.report_json)


def _print_report(report: Mapping[str, Any], run_dir: Path, html: Path, json_path: Path) -> None:
    from rich.console import Console

    from ethos.report.terminal import print_table

    print_table(report, Console(), [html, json_path])
    typer.echo(f"\ntalk to it: ethos chat {run_dir}")
