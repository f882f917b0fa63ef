from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_RESIDENT = """
import resource
from ethos.process import give_back_freed_memory, tune_process
tune_process()
import torch
def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20
tensor = torch.ones(2**26)
del tensor
kept = resident_mib()
give_back_freed_memory()
print(kept - resident_mib())
"""

# on a thread, as computing is; the first few tensors still grow the heap
_FAULTS = """
import resource, threading
from ethos.process import tune_process
tune_process()
import torch
faults = []
def make_tensor():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    torch.ones(2**24)
    faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
def make_tensors():
    for _ in range(16):
        make_tensor()
thread = threading.Thread(target=make_tensors)
thread.start()
thread.join()
print(sum(faults[-4:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have their own ways")
def test_a_large_tensor_takes_the_pages_of_those_freed_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")  # with small pages, which are 16,384 for each tensor
    ended = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have their own ways")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    ended = subprocess.run([sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 200  # of 256 MiB
