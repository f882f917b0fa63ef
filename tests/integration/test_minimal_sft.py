"""The example of the primitives, run as its first line says, for two steps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

EXAMPLE = Path(__file__).parents[2] / "examples" / "minimal_sft.py"


def test_the_minimal_loop_samples_learns_and_samples_again(smollm2: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--steps", "2"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    before, after = re.split(r"(?:^step .*\n)+", ended.stdout, flags=re.MULTILINE)
    for shown in (before, after):
        replies = re.findall(r"^> (.+)\n(.+)$", shown, flags=re.MULTILINE)
        assert [question for question, _ in replies] == ["Hello, who are you?", "Tell me about trees."]
    assert before != after
    steps = re.findall(r"^step +(\d+)  loss (\d+\.\d+)  gradient norm (\d+\.\d+)$", ended.stdout, flags=re.MULTILINE)
    assert [number for number, _, _ in steps] == ["0", "1"]
    (_, first, _), (_, second, _) = steps
    assert float(second) < float(first)
    assert list(tmp_path.iterdir()) == []
