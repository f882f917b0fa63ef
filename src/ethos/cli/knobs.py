"""`ethos knobs`: what may change while a run trains, from the fields of the config alone."""

from __future__ import annotations

import typer

from ethos.cli.output import columns
from ethos.store.knobs import knob_table

HEADINGS = ("knob", "default", "bounds", "takes effect", "meaning")
TAKES_EFFECT = {"live": "next step", "next-sample": "next sample or look"}


def show_knobs() -> None:
    """Prints a line a knob."""
    rows = [
        (knob.path, f"{knob.default:g}", knob.bounds, TAKES_EFFECT[knob.live], " ".join(knob.meaning.split()))
        for knob in knob_table()
    ]
    typer.echo(columns([HEADINGS, *rows]))
