"""The example of reinforcement learning, run as its first line says: for two steps, and slowly until it has learnt."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

EXAMPLE = Path(__file__).parents[2] / "examples" / "minimal_rl.py"


def run(folder: Path, steps: int) -> str:
    command = [sys.executable, str(EXAMPLE), "--steps", str(steps)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_loop_draws_rewards_and_learns(smollm2: Path, tmp_path: Path) -> None:
    said = run(tmp_path, 2)
    steps = re.findall(
        r"^step +(\d+)  reward (\S+)  trained groups (\d+)  gradient norm (\S+)  sampler and trainer (\S+) apart$",
        said,
        flags=re.MULTILINE,
    )
    assert [number for number, *_ in steps] == ["0", "1"]
    for _, reward, groups, norm, gap in steps:
        assert 0 < float(reward) < 1
        assert 0 < int(groups) <= 8
        assert float(norm) > 0
        assert float(gap) < 0.1  # what bf16 leaves
    assert re.match(r"right before: 0\.\d\d\n", said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_more_sums_are_right_after_than_before(smollm2: Path, tmp_path: Path) -> None:
    said = run(tmp_path, 30)
    before, after = (float(share) for share in re.findall(r"right (?:before|after): (\S+)", said))
    assert after > before + 0.1
