"""Plots over training steps as inline SVG that follows the page's colours and fonts.

matplotlib draws with stand-in colours, which become CSS variables afterwards, so that light and dark need one
plot. Left out on purpose: legends inside the plot; the page writes them, where they wrap on a narrow screen.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 7  # hues of the page's palette, --series-1 to --series-7, told apart by colour-blind eyes
DASHES = ((), (5, 2.5), (1.2, 2))  # tell further series of the same hue apart; in line widths
INK, MUTED, RULE = "#000100", "#000200", "#000300"


@dataclass(frozen=True, slots=True)
class Series:
    """One line. `colour` 0 is the ink of text, drawn thick; 1 to 7 are hues. `dash` is an index of `DASHES`."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: int
    dash: int = 0


def styled(labels: Sequence[str]) -> list[tuple[int, int]]:
    """(colour, dash) for each label, distinct for up to 21 of them."""
    return [(index % COLOURS + 1, index // COLOURS % len(DASHES)) for index in range(len(labels))]


def steps_plot(
    series: Sequence[Series], label: str, prefix: str, marks: Sequence[float] = (), shares: bool = False
) -> str:
    """An `<svg>` element of lines over steps.

    Args:
        series: that of colour 0 is drawn over the others.
        label: of the vertical axis.
        prefix: makes the ids inside the element unique on the page.
        marks: steps that get a vertical line with their number, from 1; equal steps share a line.
        shares: whether the values are shares, shown from 0 to 1, with a point at each.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.size": 10}):
        figure = Figure(figsize=(10.4, 3.9))
        axes = figure.add_axes((0.06, 0.125, 0.93, 0.8))
        for line in series:
            axes.plot(
                [step for step, _ in line.points],
                [value for _, value in line.points],
                color=_stand_in(line.colour),
                linewidth=2.8 if line.colour == 0 else 1.4,
                linestyle=(0, DASHES[line.dash]) if DASHES[line.dash] else "solid",
                marker="o" if shares else None,
                markersize=5 if line.colour == 0 else 3,
                clip_on=False,
                zorder=4 if line.colour == 0 else 3,
            )
        for step in sorted(set(marks)):
            numbers = ", ".join(str(number) for number, at in enumerate(marks, start=1) if at == step)
            axes.axvline(step, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
            axes.text(step, 1.03, numbers, transform=axes.get_xaxis_transform(), color=INK, ha="center")
        if shares:
            axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step", color=MUTED)
        axes.set_ylabel(label, color=MUTED)
        axes.tick_params(colors=MUTED, length=0)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(RULE)
        target = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=no_metadata)
    return _inlined(target.getvalue(), label, prefix)


def _stand_in(colour: int) -> str:
    return INK if colour == 0 else f"#00000{colour}"


def _inlined(svg: str, label: str, prefix: str) -> str:
    """The element alone: sized by its container, in the page's font and colours, with ids of its own."""
    opening = f'<svg role="img" aria-label="{escape(label)} over steps" viewBox="\\1">'
    svg = re.sub(r'^.*?<svg [^>]*viewBox="([^"]*)"[^>]*>', opening, svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)  # matplotlib below 3.11
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour in range(1, COLOURS + 1):
        svg = svg.replace(_stand_in(colour), f"var(--series-{colour})")
    return svg.replace(INK, "var(--ink)").replace(MUTED, "var(--muted)").replace(RULE, "var(--rule)")
