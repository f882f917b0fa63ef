"""One program, one sandbox: bubblewrap with its own namespaces, and limits on all that it may use up.

Inside there is /usr, read-only, a small /tmp, and what the language needs: no network, no home, no environment, no
/proc. The program's one input and its two outputs are pipes, and what it writes there is untrusted text.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import selectors
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any

from ethos.process import available_cores
from ethos.sandbox.seccomp import refused_calls
from ethos.sandbox.types import Ending, Language, Limits, Outcome, SandboxUnavailable

_OLDEST = (0, 8)  # of bubblewrap: the first that can refuse further namespaces
_STARTING = 4  # at a time: a process and its namespaces are what loads a machine
_START_S = 10.0
_NOBODY = "65534"
_BY_SIGNAL = 128  # added to its number in an exit code
_PART_BYTES = 2**16
_INSTALL = "install bubblewrap (Debian: apt install bubblewrap); code that a model wrote is never run without a sandbox"
_NAMESPACES = (
    "allow user namespaces, as root: sysctl -w kernel.unprivileged_userns_clone=1 (Debian) or "
    "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); in a container, they are the host's to allow"
)
_CHILD = re.compile(rb'"child-pid": *(\d+)')


class Sandbox:
    """Runs programs, a few at a time. `open_sandbox` makes one that has been tried.

    A program whose caller is cancelled goes on until it ends or meets a limit.
    """

    def __init__(self) -> None:
        """Raises SandboxUnavailable where bubblewrap isn't installed, or is too old."""
        self._prefix = [_found("bwrap", _INSTALL)]
        self._prlimit = _found("prlimit", "install util-linux")
        _require_version(self._prefix[0])
        if os.geteuid() == 0:  # who starts a sandbox is who is in it, by another name; root is under no limit
            drop = (f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--")
            self._prefix = [_found("setpriv", "install util-linux"), *drop, *self._prefix]
        self._starting = threading.BoundedSemaphore(_STARTING)
        self._threads = ThreadPoolExecutor(max(2, available_cores()), thread_name_prefix="sandbox")

    async def run(self, language: Language, given: Any, limits: Limits | None = None) -> Outcome:
        """Runs a language's harness on `given`, which is JSON-ready.

        Raises SandboxUnavailable if the language isn't installed, or if no sandbox can be set up.
        """
        if missing := language.missing():
            raise SandboxUnavailable(missing)
        work = (language, json.dumps(given).encode(), limits or Limits())
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, *work)

    def _run(self, language: Language, given: bytes, limits: Limits) -> Outcome:
        began = time.monotonic()
        with ExitStack() as held:
            reads, writes = os.pipe()
            status, tells_status = held.enter_context(FileIO(reads, "r")), held.enter_context(FileIO(writes, "w"))
            passed = [tells_status.fileno()]
            options = ["--json-status-fd", str(tells_status.fileno())]
            for place, path in language.files().items():
                passed.append(_memory_file(path.read_bytes(), held))
                options += ["--ro-bind-data", str(passed[-1]), place]
            if calls := refused_calls():
                passed.append(_memory_file(calls, held))
                options += ["--seccomp", str(passed[-1])]
            command = self._command(language, options, limits)
            with self._starting:
                process = held.enter_context(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        env={},
                        pass_fds=passed,
                    )
                )
                tells_status.close()
                is_begun = bool(select.select([status], [], [], _START_S)[0])
            watch = _Watch(process, given, limits)
            os.set_blocking(status.fileno(), False)  # whoever is left inside may hold the other end a moment longer
            told_status = b""
            try:
                ending = watch.until_its_end() if is_begun else "wall clock"
            finally:
                told_status += status.read() or b""
                _end(process, told_status)
        stdout, stderr = (bytes(output).decode("utf-8", "replace") for output in (watch.stdout, watch.stderr))
        if not is_begun or (ending is None and b"exit-code" not in told_status):  # its own word: nothing was run
            raise SandboxUnavailable(_why_not(stderr.strip() if is_begun else f"it doesn't start within {_START_S} s"))
        code = process.returncode
        if ending is None:
            ending = "ran" if code == 0 else "cpu" if code == _BY_SIGNAL + signal.SIGXCPU else "crashed"
        return Outcome(ending, stdout if ending == "ran" else "", stderr, code, time.monotonic() - began)

    def _command(self, language: Language, options: list[str], limits: Limits) -> list[str]:
        seen = [part for place, path in language.folders().items() for part in ("--ro-bind", str(path), place)]
        return [
            *(*self._prefix, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
            *("--new-session", "--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"),
            *("--clearenv", "--setenv", "PATH", "/usr/bin", "--setenv", "PYTHONHASHSEED", "0"),
            *("--ro-bind", "/usr", "/usr", *_links(), "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
            *("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom", *seen, *options),
            *("--size", str(limits.disk_bytes), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/", "--"),
            *(self._prlimit, f"--cpu={limits.cpu_s}:{limits.cpu_s + 1}", f"--as={limits.memory_bytes}"),
            *(f"--nproc={limits.processes}", f"--nofile={limits.open_files}", f"--fsize={limits.disk_bytes}"),
            *("--core=1", "--", *language.command()),  # 1: none at all, not even through a program of the system
        ]


class _Watch:
    """Feeds a process and takes what it writes, as far as its limits go."""

    def __init__(self, process: subprocess.Popen[bytes], given: bytes, limits: Limits) -> None:
        self._process, self._given, self._limits = process, memoryview(given), limits
        self._deadline = time.monotonic() + limits.wall_s
        self.stdout, self.stderr = bytearray(), bytearray()

    def until_its_end(self) -> Ending | None:
        """The limit that it met, if any."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with selectors.DefaultSelector() as waiting:
            os.set_blocking(process.stdin.fileno(), False)
            waiting.register(process.stdin, selectors.EVENT_WRITE)
            waiting.register(process.stdout, selectors.EVENT_READ, self.stdout)
            waiting.register(process.stderr, selectors.EVENT_READ, self.stderr)
            while waiting.get_map():
                ready = waiting.select(max(0.0, self._deadline - time.monotonic()))
                if not ready:
                    return "wall clock"
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        if not self._feed(process.stdin):
                            waiting.unregister(process.stdin)
                            process.stdin.close()
                    elif part := os.read(key.fd, _PART_BYTES):
                        key.data.extend(part[: self._limits.output_bytes - len(key.data)])
                        if len(key.data) == self._limits.output_bytes:
                            return "output"
                    else:
                        waiting.unregister(key.fileobj)
        try:
            process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:  # it has closed its outputs, and goes on
            return "wall clock"
        return None

    def _feed(self, stdin: IO[bytes]) -> bool:
        """Whether more is to be written."""
        try:
            written = os.write(stdin.fileno(), self._given[:_PART_BYTES])
        except BrokenPipeError:  # it ended without reading
            return False
        self._given = self._given[written:]
        return len(self._given) > 0


def _end(process: subprocess.Popen[bytes], told_status: bytes) -> None:
    """Ends what is inside, then the one outside: it may not have come to where its own end ends the other."""
    if process.poll() is None:
        if inside := _CHILD.search(told_status):
            with suppress(ProcessLookupError):
                os.kill(int(inside[1]), signal.SIGKILL)
        process.kill()


def _why_not(said: str) -> str:
    mend = f"; {_NAMESPACES}" if "namespace" in said or "uid map" in said else ""
    return f"no sandbox can be set up here: {said}{mend}"


def _require_version(bwrap: str) -> None:
    told = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(int(number) for number in re.findall(r"\d+", told)[:2])
    if numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise SandboxUnavailable(f"{bwrap} is {told.strip() or 'of no known version'}; install {oldest} or newer")


def _links() -> list[str]:
    """/bin, /lib and so on as they are here: links into /usr, or folders of their own."""
    found: list[str] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        place = Path("/", name)
        if place.is_symlink():
            found += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            found += ["--ro-bind", str(place), str(place)]
    return found


def _found(command: str, mend: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise SandboxUnavailable(f"there is no {command} on the path; {mend}")
    return path


def _memory_file(content: bytes, held: ExitStack) -> int:
    """A descriptor from which it can be read, once."""
    descriptor = os.memfd_create("ethos")
    held.callback(os.close, descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
