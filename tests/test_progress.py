import asyncio
import io
import subprocess
import sys

import pytest

from ethos.progress import Bar, PlainProgress, QuietProgress, TerminalProgress, clock_text, progress_for


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("kind", [PlainProgress, TerminalProgress])
def test_what_others_wrote_commands_no_terminal(kind: type[PlainProgress] | type[TerminalProgress]) -> None:
    stream = io.StringIO()
    progress = kind(stream)
    progress.line("the endpoint said \x1b]0;gotcha\x07 and more")
    progress.warn("the endpoint said \x1b[2J")
    assert "\x1b]0" not in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


def test_plain_lines_come_at_the_start_and_the_end_with_rate(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=clock).stage("writing demonstrations", total=160, unit="rows") as bar:
        clock.now_s = 80
        bar.done = 160
    assert stream.getvalue().splitlines() == [
        "writing demonstrations: 0/160 rows",
        "writing demonstrations: 160/160 rows in 1:20 (2 rows/s)",
    ]


def test_a_plain_line_tells_rate_remaining_time_and_note(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=clock).stage("training", total=100, unit="steps") as bar:
        bar.note("loss 2.31")
        clock.now_s = 20
        bar.advance(40)
        assert stream.getvalue().splitlines()[1:] == ["training: 40/100 steps, 2 steps/s, 0:30 remaining, loss 2.31"]


def test_plain_lines_are_ten_seconds_and_a_tenth_apart(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=clock).stage("judging", total=1000) as bar:
        for clock.now_s in range(1, 101):
            bar.advance(10)
        assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
            f"judging: {done}/1000" for done in range(0, 1001, 100)
        ]


def test_a_slow_stage_says_once_a_minute_that_it_lives(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=clock).stage("judging", total=1000) as bar:
        for clock.now_s in range(1, 181):
            bar.advance(0)
        assert len(stream.getvalue().splitlines()) == 1 + 3


def test_the_first_few_of_many_tell_no_remaining_time(clock: Clock) -> None:
    progress = QuietProgress(clock=clock)
    with progress.stage("writing", total=500, unit="prompts") as bar:
        clock.now_s += 60
        bar.advance(9)
        assert bar.remaining_s(clock.now_s) is None
        bar.advance(1)
        assert bar.remaining_s(clock.now_s) == 60 / 10 * 490


def test_a_stage_of_unknown_length_has_no_remaining_time(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=clock).stage("reading", unit="files") as bar:
        clock.now_s = 10
        bar.advance(5)
    assert stream.getvalue().splitlines() == [
        "reading …",
        "reading: 5 files, 0.5 files/s",
        "reading: 5 files in 0:10 (0.5 files/s)",
    ]


def test_what_an_earlier_sitting_did_counts_as_done_but_not_for_the_rate(clock: Clock) -> None:
    with QuietProgress(clock=clock).stage("training", total=120, unit="steps", done=60) as bar:
        clock.now_s = 10
        bar.advance(20)
        assert bar.count == "80/120 steps"
        assert bar.rate(clock.now_s) == 2
        assert bar.remaining_s(clock.now_s) == 20


def test_updates_come_at_both_ends_and_once_a_second_between(clock: Clock) -> None:
    updates: list[tuple[str, int, int | None]] = []
    progress = QuietProgress(on_update=lambda *update: updates.append(update), clock=clock)
    with progress.stage("training", total=40) as bar:
        for tick in range(1, 41):
            clock.now_s = tick / 16
            bar.advance()
    assert updates == [("training", done, 40) for done in (0, 16, 32, 40)]


def test_a_stage_that_fails_ends_with_what_was_done(clock: Clock) -> None:
    stream = io.StringIO()

    def fail() -> None:
        with PlainProgress(stream, clock=clock).stage("training", total=3) as bar:
            bar.advance()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert stream.getvalue().splitlines()[-1] == "training: 1/3 in 0:00"


def test_quiet_progress_keeps_what_was_said() -> None:
    progress = QuietProgress()
    progress.line("frame chosen")
    progress.warn("no GPU")
    assert (progress.lines, progress.warnings) == (["frame chosen"], ["no GPU"])


def test_a_terminal_gets_bars_and_keeps_a_line_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    progress = progress_for(screen)
    assert isinstance(progress, TerminalProgress)

    async def two_stages() -> None:
        with progress.stage("training [fast]", total=4, unit="steps") as bar:
            bar.advance(3)
            bar.note("loss 2.31")
            with progress.stage("tasting", total=2):
                progress.warn("[red] is text")
            bar.advance()

    asyncio.run(two_stages())
    shown = screen.getvalue()
    assert shown.count("training [fast]") > 1  # in the bar as well as in the line
    for part in ("training [fast]: 4/4 steps in 0:00", "tasting: 0/2 in 0:00", "warning: [red] is text", "loss 2.31"):
        assert part in shown


def test_a_dumb_terminal_and_a_pipe_get_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_for(io.StringIO()), PlainProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_for(Screen()), PlainProgress)


def test_plain_progress_never_loads_rich() -> None:
    code = """
import sys
from ethos.progress import progress_for
with progress_for().stage("reading", total=1) as bar:
    bar.advance()
sys.exit("rich" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines() == ["reading: 0/1", "reading: 1/1 in 0:00"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_clock_text(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_a_stage_without_a_count_ends_with_its_time_alone() -> None:
    bar = Bar("loading", None, "", 0, 0.0, lambda bar: None)
    assert bar.summary(7.0) == "loading: done in 0:07"
