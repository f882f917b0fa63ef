from __future__ import annotations

import pytest

from ethos.cli.sandbox import try_sandbox
from ethos.sandbox.types import SandboxUnavailable


def test_it_says_what_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    try_sandbox()
    assert capsys.readouterr().out.splitlines() == [
        "the sandbox holds: a program that tried to get out of it did not",
        "python: ready",
        "php: ready",
    ]


def test_it_says_why_nothing_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match="no bwrap on the path"):
        try_sandbox()
