"""A sandbox that isn't there or doesn't hold runs nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from ethos.sandbox import bubblewrap
from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.languages.php import Php
from ethos.sandbox.self_test import open_sandbox
from ethos.sandbox.types import SandboxUnavailable


def test_a_sandbox_that_holds_is_opened() -> None:
    sandbox = asyncio.run(open_sandbox())
    called = asyncio.run(call(sandbox, LANGUAGES["python"], "f = lambda: 6 * 7", "f", [[]]))
    assert called.results is not None
    assert called.results[0].value == 42


def test_without_bubblewrap_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match=r"no bwrap on the path; install bubblewrap .* never run without"):
        asyncio.run(open_sandbox())


def test_a_language_that_is_needed_and_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(open_sandbox(LANGUAGES["php"]))
    monkeypatch.setattr(Php, "missing", lambda php: "there is no php on the path; install it")
    with pytest.raises(SandboxUnavailable, match=r"^PHP can't be run: there is no php on the path; install it$"):
        asyncio.run(open_sandbox(LANGUAGES["php"]))
    monkeypatch.undo()
    monkeypatch.setattr(Php, "command", lambda php: ["/usr/bin/false"])
    with pytest.raises(SandboxUnavailable, match=r"^PHP can't be run: an empty program crashed"):
        asyncio.run(open_sandbox(LANGUAGES["php"]))


def test_where_no_sandbox_can_be_set_up_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_its_system(sandbox: Sandbox, *arguments: object) -> list[str]:
        made = command(sandbox, *arguments)  # type: ignore[arg-type]
        return ["/no/such/folder" if part == "/usr" else part for part in made]

    command = Sandbox._command
    monkeypatch.setattr(Sandbox, "_command", without_its_system)
    with pytest.raises(SandboxUnavailable, match=r"no sandbox can be set up here: bwrap: .*"):
        asyncio.run(open_sandbox())


HOLES = {
    "read a file outside": lambda made, outside: _replaced(
        made, "--remount-ro", ["--bind", outside, outside, "--remount-ro"]
    ),
    "read the environment": lambda made, _: _replaced(made, "--ro-bind", ["--setenv", VARIABLE, "x", "--ro-bind"]),
    "read the kernel's view of processes": lambda made, _: _replaced(
        made, "--dev-bind", ["--proc", "/proc", "--dev-bind"]
    ),
    "write to the system": lambda made, _: _replaced(made, "--ro-bind", ["--bind"]),
    "make a namespace of its own": lambda made, _: _replaced(made, "--disable-userns", []),
    "have more memory than its limit": lambda made, _: [part for part in made if not part.startswith("--as=")],
    "start more processes than its limit": lambda made, _: [part for part in made if not part.startswith("--nproc=")],
    "write more than its limit": lambda made, _: _replaced(made, made[made.index("--size") + 1], [str(2**30)]),
}
VARIABLE = "ETHOS_SANDBOX_SELF_TEST"


def _replaced(made: list[str], part: str, by: list[str]) -> list[str]:
    """At its first place."""
    place = made.index(part)
    return [*made[:place], *by, *made[place + 1 :]]


@pytest.mark.parametrize("name", HOLES)
def test_one_that_does_not_hold_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these opens one of its walls."""

    def with_a_hole(sandbox: Sandbox, *arguments: object) -> list[str]:
        return HOLES[name](command(sandbox, *arguments), tempfile.gettempdir())  # type: ignore[arg-type]

    command = Sandbox._command
    monkeypatch.setattr(Sandbox, "_command", with_a_hole)
    with pytest.raises(SandboxUnavailable, match=f"doesn't hold: a program in it could .*{name}.*; code .* refused"):
        asyncio.run(open_sandbox())


def test_an_old_bubblewrap_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.6.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxUnavailable, match=r"is bubblewrap 0\.6\.1; install 0\.8 or newer"):
        Sandbox()


def test_without_the_filter_of_calls_it_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory is what no limit counts."""
    monkeypatch.setattr(bubblewrap, "refused_calls", lambda: None)
    with pytest.raises(SandboxUnavailable, match="keep memory that no limit counts"):
        asyncio.run(open_sandbox())
