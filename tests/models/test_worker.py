from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest
import torch

from ethos.models.worker import Worker, compute_worker


def test_jobs_run_one_after_another_in_the_order_given_on_one_thread() -> None:
    worker, log = Worker(1), []

    def job(name: int) -> int:
        log.append((name, threading.get_ident()))
        return name

    async def submit() -> list[int]:
        return list(await asyncio.gather(*(worker.run(job, i) for i in range(20))))

    assert asyncio.run(submit()) == list(range(20))
    assert [name for name, _ in log] == list(range(20))
    assert len({thread for _, thread in log}) == 1
    assert log[0][1] != threading.get_ident()


def test_a_jobs_exception_reaches_its_caller_and_the_next_job_runs() -> None:
    worker = Worker(1)

    async def submit() -> str:
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 / 0)
        return await worker.run(str.upper, "done")

    assert asyncio.run(submit()) == "DONE"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system doesn't bind processes to cores")
def test_a_process_that_is_bound_to_one_core_computes_with_one_thread() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from ethos.models.worker import Worker; print(Worker().threads)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_the_compute_thread_has_the_threads_asked_for() -> None:
    assert asyncio.run(Worker(1).run(torch.get_num_threads)) == 1


def test_a_closed_gate_holds_jobs_back_until_it_opens() -> None:
    worker, log = Worker(1), []

    async def submit() -> None:
        worker.gate = asyncio.Event()
        waiting = asyncio.create_task(worker.run(log.append, "job"))
        for _ in range(5):
            await asyncio.sleep(0)
        log.append("opened")
        worker.gate.set()
        await waiting

    asyncio.run(submit())
    assert log == ["opened", "job"]


def test_in_process_models_share_one_worker() -> None:
    assert compute_worker(1) is compute_worker(1)
