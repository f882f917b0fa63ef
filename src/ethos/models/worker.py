"""One thread for all local compute.

All PyTorch work is jobs on this thread: a decode step, a batch of scores, or one whole optimizer step. The event loop
never calls torch, and jobs never overlap, so nothing ever decodes half-updated weights. Nor is anything loaded on
another thread: a second thread that computes has OpenMP threads of its own, and where there are more of them than
cores, libgomp lets none of them spin before it sleeps. A decode step took 123 ms then, and 88 ms without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import ParamSpec, TypeVar

from ethos.process import available_cores

P = ParamSpec("P")
R = TypeVar("R")


class Worker:
    """Runs jobs one after another, in the order in which they were submitted."""

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or available_cores()
        self.gate: asyncio.Event | None = None  # while it is not set, no new job is begun
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ethos-compute", initializer=self._start)

    def _start(self) -> None:
        import torch

        torch.set_num_threads(self.threads)

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `job` on the compute thread; its exception is raised here."""
        if self.gate is not None:
            await self.gate.wait()
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(job, *args, **kwargs))


@cache
def compute_worker(threads: int = 0) -> Worker:
    """The process's worker: every in-process model shares it."""
    return Worker(threads)
