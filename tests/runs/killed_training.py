"""Trains the tiny model twice: once undisturbed, once killed -9 again and again. Prints how often it was killed.

A process of its own, since it forks: the model is loaded once, and trained only in the children.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from ethos.store.config.run import load_config
from ethos.training.policy import Policy
from runs.training_run import policy_of, session_in, train


def sitting(folder: Path, policy: Policy, told: int) -> None:
    """One sitting; a byte goes to `told` after each step."""

    async def look(step: int) -> None:
        os.write(told, b".")

    with session_in(folder) as session:
        asyncio.run(train(session, policy, look))


def start(folder: Path, policy: Policy) -> tuple[int, int]:
    """A child at work, and the pipe that its steps come through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            sitting(folder, policy, writing)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return child, reading


def killed(folder: Path, policy: Policy, noise: random.Random) -> bool:
    """Whether a sitting was killed, after a few steps and a moment; else it has come to its end."""
    child, reading = start(folder, policy)
    for _ in range(noise.randint(0, 3)):
        os.read(reading, 1)
    time.sleep(noise.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    return os.WIFSIGNALED(status)


def main(undisturbed: Path, disturbed: Path) -> None:
    """Runs both."""
    torch.set_num_threads(1)
    policy = policy_of(undisturbed, load_config(undisturbed / "config.yaml"))
    child, _ = start(undisturbed, policy)
    assert os.waitpid(child, 0)[1] == 0
    noise = random.Random(0)
    kills = sum(killed(disturbed, policy, noise) for _ in range(10))
    child, _ = start(disturbed, policy)
    assert os.waitpid(child, 0)[1] == 0
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
