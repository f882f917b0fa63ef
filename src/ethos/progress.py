"""How a person sees that a run is alive: bars on a terminal, plain lines elsewhere, nothing in tests.

Below all rooms, so that each can report what it does. It all goes to stderr; results go to stdout. No thread of its own
outside a terminal: a plain line is due when work is counted, not when time passes.
"""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

OnUpdate = Callable[[str, int, int | None], None]
"""Told of a stage's name, how much of it is done, and of how much."""

UPDATE_EVERY_S = 1.0
LINE_EVERY_S = 10.0
LINE_AT_LEAST_EVERY_S = 60.0
LINE_EVERY_SHARE = 0.1
TELLING_SHARE = 0.02  # of a stage; before, its rate is that of its slow beginning


def harmless(text: str) -> str:
    """Text by a model or another person, without the control characters that could command a terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


class Bar:
    """A stage under way, and its counter."""

    def __init__(
        self, name: str, total: int | None, unit: str, done: int, now_s: float, changed: Callable[[Bar], None]
    ) -> None:
        self.name = name
        self.total = total
        self.unit = unit
        self.done = done
        self.remark = ""
        self.started_s = now_s
        self.told_s = now_s
        self._done_before = done
        self._changed = changed

    def advance(self, count: int = 1) -> None:
        """Counts work that was done."""
        self.done += count
        self._changed(self)

    def note(self, text: str) -> None:
        """Shows a few words behind the count, such as the latest loss."""
        self.remark = text
        self._changed(self)

    def rate(self, now_s: float) -> float:
        """Units a second since the stage began; what was done before it doesn't count."""
        elapsed_s = now_s - self.started_s
        return (self.done - self._done_before) / elapsed_s if elapsed_s > 0 else 0.0

    def remaining_s(self, now_s: float) -> float | None:
        """Seconds still to go at this rate; None while that can't be told, as from the first few of many."""
        if self.total is None or self.done - self._done_before < max(1, TELLING_SHARE * self.total):
            return None
        rate = self.rate(now_s)
        return max(0, self.total - self.done) / rate if rate else None

    @property
    def count(self) -> str:
        """`48/160 rows`."""
        whole = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        return f"{whole} {self.unit}".rstrip()

    def summary(self, now_s: float) -> str:
        """The line that stays when the stage is over."""
        elapsed_s = now_s - self.started_s
        rate = f" ({_rate_text(self, now_s)})" if elapsed_s >= 1 and self.rate(now_s) else ""
        counted = f"{self.count} in" if self.total is not None or self.done else "done in"
        return f"{self.name}: {counted} {clock_text(elapsed_s)}{rate}"


class Progress(ABC):
    """Where stages, lines and warnings go. Stages may nest and overlap.

    `on_update` is called when a stage begins and ends, and at most once a second between: a run keeps its status
    in the database with it.
    """

    def __init__(self, on_update: OnUpdate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_update = on_update
        self._clock = clock

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Bar]:
        """A stage for the length of the block. `done` is what earlier sittings have done of it."""
        bar = Bar(name, total, unit, done, self._clock(), self._count)
        self._begin(bar)
        self._tell(bar)
        try:
            yield bar
        finally:
            self._end(bar)
            self._tell(bar)

    @abstractmethod
    def line(self, text: str) -> None:
        """Says something that stays."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Says something that the person should look at."""

    @abstractmethod
    def _begin(self, bar: Bar) -> None: ...

    @abstractmethod
    def _change(self, bar: Bar) -> None: ...

    @abstractmethod
    def _end(self, bar: Bar) -> None: ...

    def _count(self, bar: Bar) -> None:
        self._change(bar)
        if self._clock() - bar.told_s >= UPDATE_EVERY_S:
            self._tell(bar)

    def _tell(self, bar: Bar) -> None:
        bar.told_s = self._clock()
        if self.on_update is not None:
            self.on_update(bar.name, bar.done, bar.total)


class QuietProgress(Progress):
    """Shows nothing, and keeps what was said: for tests and for use from Python."""

    def __init__(self, on_update: OnUpdate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(on_update, clock)
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def line(self, text: str) -> None:
        """Keeps it in `lines`."""
        self.lines.append(text)

    def warn(self, text: str) -> None:
        """Keeps it in `warnings`."""
        self.warnings.append(text)

    def _begin(self, bar: Bar) -> None: ...

    def _change(self, bar: Bar) -> None: ...

    def _end(self, bar: Bar) -> None: ...


class PlainProgress(Progress):
    """Lines of text, for logs: one when a stage begins, one when it ends, and a few between."""

    def __init__(
        self, stream: TextIO, on_update: OnUpdate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(on_update, clock)
        self._stream = stream
        self._printed: dict[Bar, tuple[float, int]] = {}  # when a bar was last printed, and what was done then

    def line(self, text: str) -> None:
        """Writes the text as a line."""
        self._stream.write(f"{harmless(text)}\n")
        self._stream.flush()

    def warn(self, text: str) -> None:
        """Writes the text as a line that begins with `warning:`."""
        self.line(f"warning: {text}")

    def _begin(self, bar: Bar) -> None:
        self._print(bar, f"{bar.name}: {bar.count}" if bar.total is not None else f"{bar.name} …")

    def _change(self, bar: Bar) -> None:
        now_s = self._clock()
        printed_s, printed_done = self._printed[bar]
        waited_s = now_s - printed_s
        if waited_s < LINE_EVERY_S:
            return
        grown = bar.total is None or bar.done - printed_done >= LINE_EVERY_SHARE * bar.total
        if grown or waited_s >= LINE_AT_LEAST_EVERY_S:
            remaining_s = bar.remaining_s(now_s)
            parts = [bar.count, _rate_text(bar, now_s)]
            parts += [] if remaining_s is None else [f"{clock_text(remaining_s)} remaining"]
            self._print(bar, f"{bar.name}: {', '.join(filter(None, [*parts, bar.remark]))}")

    def _end(self, bar: Bar) -> None:
        del self._printed[bar]
        self.line(bar.summary(self._clock()))

    def _print(self, bar: Bar, text: str) -> None:
        self._printed[bar] = self._clock(), bar.done
        self.line(text)


class TerminalProgress(Progress):
    """Live bars with count, rate, elapsed and remaining time; a finished stage leaves one line."""

    def __init__(self, stream: TextIO, on_update: OnUpdate | None = None) -> None:
        from rich import progress as widgets
        from rich.console import Console

        super().__init__(on_update)
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._tasks: dict[Bar, TaskID] = {}
        self._live = widgets.Progress(
            widgets.SpinnerColumn(),
            widgets.TextColumn("{task.description}", markup=False),
            widgets.BarColumn(bar_width=24),
            widgets.TextColumn("{task.fields[figures]}", markup=False),
            widgets.TimeElapsedColumn(),
            widgets.TextColumn("{task.fields[outlook]}", markup=False, style="dim"),
            console=self._console,
            refresh_per_second=4,
            transient=True,
        )

    def line(self, text: str) -> None:
        """Prints above the bars."""
        self._console.print(harmless(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Prints above the bars, in yellow."""
        self._console.print(f"warning: {harmless(text)}", style="yellow", soft_wrap=True)

    def _begin(self, bar: Bar) -> None:
        if not self._tasks:
            self._live.start()
        self._tasks[bar] = self._live.add_task(
            bar.name, total=bar.total, completed=bar.done, figures=bar.count, outlook=""
        )

    def _change(self, bar: Bar) -> None:
        now_s = self._clock()
        remaining_s = bar.remaining_s(now_s)
        outlook = [] if remaining_s is None else [f"{clock_text(remaining_s)} remaining"]
        self._live.update(
            self._tasks[bar],
            completed=bar.done,
            figures=f"{bar.count} {_rate_text(bar, now_s)}",
            outlook=" · ".join(filter(None, [*outlook, bar.remark])),
        )

    def _end(self, bar: Bar) -> None:
        self._live.remove_task(self._tasks.pop(bar))
        if not self._tasks:
            self._live.stop()
        self.line(bar.summary(self._clock()))


def progress_for(stream: TextIO | None = None) -> Progress:
    """Live bars if the stream (stderr if none is given) is a terminal that can move its cursor, else plain lines."""
    stream = sys.stderr if stream is None else stream
    is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
    return TerminalProgress(stream) if is_live else PlainProgress(stream)


def clock_text(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def _rate_text(bar: Bar, now_s: float) -> str:
    rate = bar.rate(now_s)
    figure = f"{rate:,.0f}" if rate >= 100 else f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"
    return f"{figure} {bar.unit or 'units'}/s"
