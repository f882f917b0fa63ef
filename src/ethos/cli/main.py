"""The command line: every command with its arguments and its help, and the one handler of errors.

The work is in the modules beside this one, imported when a command runs: `ethos --help` loads nothing heavy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ethos import __version__
from ethos.errors import EthosError
from ethos.process import tune_process
from ethos.progress import harmless
from ethos.store.files import disk_error

app = typer.Typer(
    name="ethos",
    help="Train a language model's character from a written spec, and taste it while it trains.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a bug's traceback is shown as it is, and never with the values of variables
)
models_app = typer.Typer(help="The models that install without an account.", no_args_is_help=True)
app.add_typer(models_app, name="models")

RUN_HELP = "A run: its name in runs/, or its folder."
Run = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)]
Why = Annotated[str, typer.Option("--why", help="The reason, for the journal. Needed.")]
Author = Annotated[str, typer.Option("--author", help="Who asks. Default: your login name.")]


def main() -> None:
    """Runs a command. A mistake that the user can mend becomes one sentence and exit code 1; a bug, a traceback."""
    tune_process()
    try:
        app()
    except EthosError as error:
        _end_with(error)
    except OSError as error:
        told = disk_error(error)
        if told is None:
            raise
        _end_with(told)


def _end_with(error: EthosError) -> NoReturn:
    typer.echo(f"error: {harmless(' '.join(str(error).split()))}", err=True)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def show_version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"ethos {__version__}")
        raise typer.Exit


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's YAML file.")],
    runs_dir: Annotated[Path, typer.Option(help="Where runs lie.")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and load no model.")] = False,
) -> None:
    """Train a student from a spec, or continue where it stopped."""
    from ethos.cli import run as command

    if dry_run:
        command.show_plan(config)
    else:
        command.run(config, runs_dir)


@app.command()
def chat(
    who: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, or any model's name.")],
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 always takes the likeliest token.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 256,
) -> None:
    """Talk to a trained student. /reset forgets the conversation, /quit ends it; piped, a line is a message."""
    from ethos.cli.chat import chat as command

    command(who, max_tokens, temperature)


@app.command()
def status(run: Run) -> None:
    """Show where a run is, and the knobs in force."""
    from ethos.cli.status import show_status

    show_status(run)


@app.command()
def journal(
    run: Run,
    verify: Annotated[
        bool, typer.Option("--verify", help="Fail if an entry was altered or put in, or one before the last removed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with every field.")] = False,
) -> None:
    """Show what changed in a run, when, by whom and why."""
    from ethos.cli.journal import show_journal

    show_journal(run, verify=verify, as_json=as_json)


@app.command()
def adjust(
    run: Run,
    changes: Annotated[list[str], typer.Argument(metavar="KNOB=VALUE...", help="As lr=1e-4; see `ethos knobs`.")],
    why: Why = "",
    author: Author = "",
) -> None:
    """Change knobs, also while the run trains."""
    from ethos.cli.steering import adjust as command

    command(run, changes, why, author)


@app.command()
def pause(run: Run, why: Why = "", author: Author = "") -> None:
    """Hold a run, at once or when it is next started."""
    from ethos.cli.steering import hold

    hold(run, "pause", why, author)


@app.command()
def resume(run: Run, why: Why = "", author: Author = "") -> None:
    """Let a paused run go on."""
    from ethos.cli.steering import hold

    hold(run, "resume", why, author)


@app.command()
def trace(
    row: Annotated[str, typer.Argument(metavar="ROW", help="The id of a row, or how it starts.")],
    run: Annotated[str | None, typer.Option(help=f"{RUN_HELP} Default: all of runs/.")] = None,
    calls: Annotated[bool, typer.Option("--calls", help="Also what each model call asked and answered.")] = False,
) -> None:
    """Show what a training row came from."""
    from ethos.cli.trace import show_row

    show_row(row, run, with_calls=calls)


@app.command()
def export(
    run: Run,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder, or an empty one.")],
) -> None:
    """Write a run's rows as a data set: Parquet, in the shapes that TRL expects, and a card."""
    from ethos.cli.export import export as command

    command(run, to)


@app.command()
def report(run: Run) -> None:
    """Show the report of a finished run again."""
    from ethos.cli.run import show_report

    show_report(run)


@app.command()
def knobs() -> None:
    """List everything that may change while a run trains."""
    from ethos.cli.knobs import show_knobs

    show_knobs()


@app.command()
def sandbox() -> None:
    """Try whether code that a model wrote can be run here without harm, and in which languages."""
    from ethos.cli.sandbox import try_sandbox

    try_sandbox()


@models_app.command("list")
def list_models() -> None:
    """List the models, and what else a name can be."""
    from ethos.cli.models import show_models

    show_models()


@models_app.command("fetch")
def fetch_model(name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name, as in a config.")]) -> None:
    """Bring a model's weights onto this machine, checked and ready to use."""
    from ethos.cli.models import fetch

    fetch(name)
