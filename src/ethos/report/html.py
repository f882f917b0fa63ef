"""The report as one HTML file, with no outside reference and no script; the template escapes all text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ethos.report.plots import DASHES, Series, steps_plot, styled

HERE = Path(__file__).parent
CANARIES = {
    "look.canary.questions": "questions right",
    "look.canary.perplexity": "perplexity",
    "look.canary.reply_words": "words a reply",
}
CHANGES = ("knob", "data", "control")  # kinds of journal entries that a plot marks
ABSENT = "–"


def render_html(report: Mapping[str, Any]) -> str:
    """The page for a report that `build_report` made."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": figure,
        "signed": signed,
        "span": span,
        "thousands": thousands,
        "duration": duration,
        "json_value": json_value,
    }
    changes = [entry for entry in report["journal"] if entry["kind"] in CHANGES and entry["step"] > 0]
    adherence, losses = _adherence_series(report["looks"]), _loss_series(report["metrics"])
    canaries = _canary_series(report["metrics"])
    marks = [entry["step"] for entry in changes]
    return environment.get_template("template.html.jinja").render(
        report=report,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        changes=changes,
        adherence=adherence,
        adherence_plot=Markup(steps_plot(adherence, "adherence", "looks", marks, shares=True)) if adherence else None,
        losses=losses,
        canaries=canaries,
        canary_plot=Markup(steps_plot(canaries, "times the base", "canaries", marks)) if canaries else None,
        loss_plot=Markup(steps_plot(losses, "loss, nats a token", "losses", marks)) if losses else None,
        dashes=DASHES,
        by_clause=_by_clause(report),
    )


def figure(value: float | None) -> str:
    """Two decimals."""
    return ABSENT if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """Two decimals with a sign, in typographic form; no sign at 0.00."""
    if value is None:
        return ABSENT
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def span(interval: Sequence[float] | None) -> str:
    """An interval as [0.31, 0.52]."""
    if interval is None:
        return ""
    low, high = (f"{bound:.2f}".replace("-0.00", "0.00").replace("-", "−") for bound in interval)
    return f"[{low}, {high}]"


def thousands(count: int) -> str:
    """With narrow spaces between groups of three digits."""
    return f"{count:,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """In the two largest units that say something."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def json_value(value: Any) -> str:
    """A knob's value as a person would write it."""
    if value is None:
        return ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value)


def _adherence_series(looks: Sequence[Mapping[str, Any]]) -> list[Series]:
    clauses = list(dict.fromkeys(clause for look in looks for clause in look["clauses"]))
    series = [
        Series(
            label=clause,
            points=tuple((k["step"], k["clauses"][clause]["adherence"]) for k in looks if clause in k["clauses"]),
            colour=colour,
            dash=dash,
        )
        for clause, (colour, dash) in zip(clauses, styled(clauses), strict=True)
    ]
    overall = Series("overall", tuple((look["step"], look["overall"]) for look in looks), colour=0)
    return [overall, *series] if looks else []


def _loss_series(metrics: Mapping[str, Sequence[Sequence[float | None]]]) -> list[Series]:
    names = [name for name in metrics if name.startswith("loss")]
    return [
        Series(name, tuple((step or 0, value) for step, value in metrics[name] if value is not None), colour, dash)
        for name, (colour, dash) in zip(names, styled(names), strict=True)
    ]


def _canary_series(metrics: Mapping[str, Sequence[Sequence[float | None]]]) -> list[Series]:
    """What the canaries said at each look, as a multiple of what they said of the base."""
    series = []
    for (name, label), (colour, dash) in zip(CANARIES.items(), styled(list(CANARIES)), strict=True):
        points = [(step or 0, value) for step, value in metrics.get(name, ()) if value is not None]
        if len(points) > 1 and points[0][0] == 0 and points[0][1]:
            series.append(Series(label, tuple((step, value / points[0][1]) for step, value in points), colour, dash))
    return series


def _by_clause(report: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for sample in report["replies"]:
        samples.setdefault(sample["clause"], []).append(sample)
    return [(clause, samples[clause["id"]]) for clause in report["clauses"] if clause["id"] in samples]
