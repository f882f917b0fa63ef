"""Whether a sandbox holds on this machine, before anything is trusted to it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.types import Language, Limits, SandboxUnavailable
from ethos.store.cache import cache_directory

_BREAK_OUT = Path(__file__).with_name("break_out.py")
_VARIABLE = "ETHOS_SANDBOX_SELF_TEST"
_LIMITS = Limits(cpu_s=5, wall_s=20, memory_bytes=2**28, disk_bytes=2**22)
_ENDLESS = {
    "wall clock": ("import time\ntime.sleep(60)", Limits(wall_s=0.3)),
    "output": ("while True: print('x' * 4096)", Limits(output_bytes=2**16)),
}
_REFUSAL = "code that a model wrote is refused here; use a machine whose kernel keeps a sandbox shut"


async def open_sandbox(*needed: Language) -> Sandbox:
    """A sandbox that has just held against a program which tried to break out.

    Raises SandboxUnavailable where there is none, where it doesn't hold, or where a needed language isn't ready, and
    says why.
    """
    sandbox = Sandbox()
    found = await asyncio.gather(_escapes(sandbox), *(_goes_on(sandbox, ending) for ending in _ENDLESS))
    if could := [said for part in found for said in part]:
        raise SandboxUnavailable(f"the sandbox doesn't hold: a program in it could {'; '.join(could)}; {_REFUSAL}")
    for language in needed:
        if said := await unready(sandbox, language):
            raise SandboxUnavailable(f"{language.title} can't be run: {said}")
    return sandbox


async def unready(sandbox: Sandbox, language: Language) -> str | None:
    """Why programs of a language can't be run, and the mend; None if an empty one has just been."""
    if missing := language.missing():
        return missing
    called = await call(sandbox, language, "", None)
    return None if called.ending == "ran" else f"an empty program {called.ending}: {called.outcome.stderr}"


async def _escapes(sandbox: Sandbox) -> list[str]:
    with ExitStack() as held:
        given = [_bait(held), _LIMITS.memory_bytes, _LIMITS.processes, _LIMITS.disk_bytes]
        called = await call(sandbox, LANGUAGES["python"], _BREAK_OUT.read_text(), "attempts", [given], _LIMITS)
    if called.results is None or called.results[0].error:
        said = called.unparsed or (called.results[0].error if called.results else called.outcome.stderr[-500:])
        raise SandboxUnavailable(f"the sandbox's self-test came to no end ({called.ending}): {said}; {_REFUSAL}")
    return [f"{name} ({got})" for name, got in called.results[0].value.items()]


def _bait(held: ExitStack) -> dict[str, Any]:
    """What is there outside for a program that gets out, readable by everybody."""
    os.environ[_VARIABLE] = "seen"
    folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="ethos-self-test-")))
    folder.chmod(0o755)
    file = folder / "bait.txt"
    file.write_text("seen")
    listening = held.enter_context(socket.create_server(("127.0.0.1", 0)))
    named = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    name = f"ethos-{secrets.token_hex(8)}"
    named.bind("\0" + name)
    named.listen()
    return {
        "file": str(file),
        "folders": [str(folder), *(str(home) for home in (Path.home(), cache_directory()) if len(home.parts) > 2)],
        "variable": _VARIABLE,
        "port": listening.getsockname()[1],
        "socket": name,
        "process": os.getpid(),
    }


async def _goes_on(sandbox: Sandbox, ending: str) -> list[str]:
    """Whether a program without end is stopped, and for the right reason."""
    source, limits = _ENDLESS[ending]
    called = await call(sandbox, LANGUAGES["python"], source, None, (), limits)
    return [] if called.ending == ending else [f"go on past its limit of {ending} ({called.ending})"]
