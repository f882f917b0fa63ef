"""The example over several devices, run as its first line says, on two processes of one machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

pytestmark = [pytest.mark.model, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples" / "sharded_sft.py"


def test_two_processes_learn_and_write_a_student(smollm2: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(EXAMPLE)]
    ended = subprocess.run([*command, "--steps", "3"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    losses = re.findall(r"^step +\d+  loss (\S+)  gradient norm \S+$", ended.stdout, flags=re.MULTILINE)
    assert len(losses) == 3
    assert float(losses[2]) < float(losses[0])
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "sharded-student").config.model_type == "llama"
