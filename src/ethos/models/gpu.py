"""The CUDA device that models would run on, asked of the driver's own command: planning a run loads no torch."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from dataclasses import dataclass

_TIMEOUT_S = 10.0
_ASK = ["--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device."""

    name: str
    free_bytes: int


def find_gpu() -> Gpu | None:
    """The device that PyTorch would take; None without one, or where PyTorch is a build for CPUs."""
    command, visible = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if command is None or visible in ("", "-1") or importlib.metadata.version("torch").endswith("+cpu"):
        return None
    chosen = [f"--id={visible.split(',')[0]}"] if visible else []
    try:
        told = subprocess.run([command, *_ASK, *chosen], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        name, free_mib = told.stdout.splitlines()[0].rsplit(",", 1)
        return Gpu(name.strip(), int(free_mib) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # no driver, or no device
        return None
