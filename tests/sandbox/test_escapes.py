"""Programs that try to get out of the sandbox, or to use up the machine: none of them may."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.calls import Called, call
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.types import Limits

LIMITS = Limits(cpu_s=1, wall_s=3, memory_bytes=2**28, disk_bytes=2**22, output_bytes=2**16)

COMMAND = "import os\ndef f(seen):\n code = run()\n if code: raise OSError(code)\n return 1\nrun = lambda: os.system"
# each defines f(seen), which returns what it got, and fails where it gets nothing
PYTHON_ESCAPES = {
    "read the machine's users": "f = lambda seen: open('/etc/passwd').read()",
    "read a file outside": "f = lambda seen: open(seen['file']).read()",
    "read a file through a link": (
        "import os\ndef f(seen):\n os.symlink(seen['file'], '/tmp/l')\n return open('/tmp/l').read()"
    ),
    "list the home folder": "import os\nf = lambda seen: os.listdir(seen['home'])",
    "climb out of its folder": "import os\nf = lambda seen: os.listdir('/tmp/../../../../../../root')",
    "read the environment": "import os\nf = lambda seen: os.environ[seen['variable']]",
    "read another process's environment": "f = lambda seen: open('/proc/1/environ').read()",
    "find the root through a process": "import os\nf = lambda seen: os.listdir('/proc/1/root')",
    "read the kernel's objects": "import os\nf = lambda seen: os.listdir('/sys')",
    "read a disk": "f = lambda seen: open('/dev/sda', 'rb').read(1)",
    "read the machine's memory": "f = lambda seen: open('/dev/mem', 'rb').read(1)",
    "write to shared memory": "f = lambda seen: open('/dev/shm/x', 'w')",
    "write to the system": "f = lambda seen: open('/usr/bin/x', 'w')",
    "write to the root": "f = lambda seen: open('/x', 'w')",
    "write over its harness": "f = lambda seen: open('/harness/harness.py', 'w')",
    "find the system writable": (
        "import os\ndef f(seen):\n if os.statvfs('/usr').f_flag & os.ST_RDONLY: raise OSError('read-only')\n return 1"
    ),
    "connect to a port": "import socket\nf = lambda seen: socket.create_connection(('127.0.0.1', seen['port']), 1)",
    "send a datagram": "import socket\nf = lambda seen: socket.socket(type=2).sendto(b'x', ('127.0.0.1', 9))",
    "connect to a named socket": (
        "import socket\nf = lambda seen: socket.socket(socket.AF_UNIX).connect(chr(0) + seen['socket']) or 1"
    ),
    "talk to the kernel's network": "import socket\nf = lambda seen: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "talk to the machine below": "import socket\nf = lambda seen: socket.socket(socket.AF_VSOCK)",
    "open a raw socket": "import socket\nf = lambda seen: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "look a name up": "import socket\nf = lambda seen: socket.getaddrinfo('example.org', 80)",
    "signal a process outside": "import os\nf = lambda seen: os.kill(seen['process'], 0) or 1",
    "become root": "import os\nf = lambda seen: os.setuid(0) or 1",
    "change its root": "import os\nf = lambda seen: os.chroot('/tmp') or 1",
    "make a device": "import os\nf = lambda seen: os.mknod('/tmp/d', 0o060666, os.makedev(8, 0)) or 1",
    "raise its limits": "import resource\nf = lambda seen: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)) or 1",
    "have a namespace of its own": f"{COMMAND}('unshare --user true')",
    "mount something": f"{COMMAND}('mount -t tmpfs none /tmp')",
    "have a namespace by a new process": (
        "import ctypes\ndef f(seen):\n flags = ctypes.c_long(0x10000011)\n"
        " if ctypes.CDLL(None).syscall({'x86_64': 56, 'aarch64': 220}[seen['machine']], flags, 0, 0, 0, 0) < 0:\n"
        "  raise OSError('refused')\n return 1"
    ),
    "take its keeper's descriptors": (
        "import ctypes\ndef f(seen):\n libc = ctypes.CDLL(None)\n"
        " if libc.syscall(438, libc.syscall(434, 1, 0), 1, 0) < 0: raise OSError('refused')\n return 1"
    ),
}
SYSTEM_CALLS = {  # number on x86-64, arguments
    "follow another process": (101, 16, 1, 0, 0),
    "have a namespace by itself": (272, 0x10000000),
    "mount by itself": (165, 0, 0, 0, 0, 0),
    "have shared memory": (29, 0, 4096, 0o1600),
    "have a file in memory": (319, 0, 0),
    "give the kernel a program": (321, 0, 0, 0),
    "have a ring of calls": (425, 1, 0),
    "keep a key": (250, 0, -3, 1),
    "count the kernel's events": (298, 0, 0, -1, -1, 0),
    "handle page faults": (323, 0),
    "keep pages in a pipe": (278, 1, 0, 0, 0),
    "have a queue of disk calls": (206, 1, 0),
    "open by handle": (304, -100, 0, 0),
}
PHP_ESCAPES = {
    "read a file outside": "return file_get_contents($seen['file']);",
    "read the environment": "return getenv($seen['variable']) ?: throw new Exception('unset');",
    "list the home folder": "return scandir($seen['home']);",
    "write to the system": "return file_put_contents('/usr/bin/x', 'x');",
    "write beside its own folder": "return file_put_contents('/harness/x', 'x');",
    "connect to a port": "return (bool) fsockopen('127.0.0.1', $seen['port'], $code, $said, 1);",
    "open an address": "return file_get_contents('http://127.0.0.1:' . $seen['port'] . '/');",
    "include an address": "return include 'http://127.0.0.1:' . $seen['port'] . '/';",
    "load an extension": "return dl('/tmp/x.so') ?: throw new Exception('no');",
    "read through a shell": "return shell_exec('cat /etc/shadow') ?: throw new Exception('nothing');",
    "read through a link": "symlink($seen['file'], '/tmp/l'); return file_get_contents('/tmp/l');",
}
BOMBS = {  # a program, and how it may end
    "python: loop": ("python", "while True: pass", {"cpu"}),
    "python: loop, deaf to signals": (
        "python",
        "import signal\nfor n in (24, 15, 2): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        {"crashed", "wall clock"},
    ),
    "python: sleep": ("python", "import time\ntime.sleep(60)", {"wall clock"}),
    "python: sleep behind closed outputs": (
        "python",
        "import os, time\nos.closerange(1, 64)\ntime.sleep(60)",
        {"wall clock"},
    ),
    "python: fork": ("python", "import os\nwhile True:\n try: os.fork()\n except OSError: pass", {"cpu", "wall clock"}),
    "python: threads": (
        "python",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        {"crashed", "wall clock"},
    ),
    "python: memory": ("python", "x = [1]\nwhile True: x = x + x", {"crashed"}),
    "python: one big block": ("python", "x = bytearray(2**40)", {"crashed"}),
    "python: memory in many processes": (
        "python",
        "import os\nfor _ in range(20):\n if os.fork() == 0: break\nx = bytearray(2**27)\nwhile True: x += x",
        {"crashed"},
    ),
    "python: disk": (
        "python",
        "n = 0\nwhile True:\n with open(f'/tmp/{n}', 'wb') as file: file.write(bytes(2**20))\n n += 1",
        {"crashed"},
    ),
    "python: one big file": ("python", "open('/tmp/x', 'wb').truncate(2**30)", {"crashed"}),
    "python: many files": (
        "python",
        "n = 0\nwhile True:\n open(f'/tmp/{n}', 'w').close()\n n += 1",
        {"crashed", "cpu"},
    ),
    "python: open files": ("python", "kept = []\nwhile True: kept.append(open('/dev/null'))", {"crashed"}),
    "python: output": ("python", "while True: print('x' * 4096)", {"output"}),
    "python: recursion": ("python", "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()", {"crashed", "cpu"}),
    "python: kill everybody": ("python", "import os\nos.kill(-1, 9)\nwhile True: pass", {"crashed", "cpu"}),
    "python: end before its answer": ("python", "import os\nos._exit(0)", {"crashed"}),
    "python: answer by itself": ("python", "import os\nos.write(3, b'{}\\n')\nos._exit(0)", {"crashed"}),
    "php: loop": ("php", "<?php while (true) {}", {"cpu"}),
    "php: sleep": ("php", "<?php sleep(60);", {"wall clock"}),
    "php: memory": ("php", "<?php ini_set('memory_limit', -1); $x = 'x'; while (true) { $x .= $x; }", {"crashed"}),
    "php: output": ("php", "<?php while (true) { echo str_repeat('x', 4096); }", {"output"}),
    "php: output by itself": ("php", "<?php while (true) { fwrite(STDOUT, str_repeat('x', 4096)); }", {"output"}),
    "php: processes": (
        "php",
        "<?php $kept = []; while (true) { $kept[] = @proc_open(['sleep', '60'], [], $pipes); }",
        {"cpu", "crashed", "wall clock"},
    ),
    "php: end before its answer": ("php", "<?php exit(0);", {"crashed"}),
    "php: recursion": ("php", "<?php function g() { return g(); } g();", {"crashed", "cpu"}),
}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What is there outside, readable by everybody."""
    file = tmp_path_factory.mktemp("outside") / "secret.txt"
    file.write_text("secret")
    for folder in (file, *file.parents[:3]):
        folder.chmod(0o755)
    os.environ["ETHOS_TEST_SECRET"] = "secret"
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_UNIX) as named:
        named.bind(f"\0ethos-test-{os.getpid()}")
        named.listen()
        yield {
            "file": str(file),
            "home": str(Path.home()),
            "variable": "ETHOS_TEST_SECRET",
            "port": listening.getsockname()[1],
            "socket": f"ethos-test-{os.getpid()}",
            "process": os.getpid(),
            "machine": os.uname().machine,
        }
    del os.environ["ETHOS_TEST_SECRET"]


def ran(sandbox: Sandbox, language: str, source: str, function: str | None, *arguments: Any) -> Called:
    return asyncio.run(call(sandbox, LANGUAGES[language], source, function, [arguments], LIMITS))


# what the kernel or the language says to one who may not; a mistake in the program itself is another error
REFUSALS = (
    *("FileNotFoundError", "PermissionError", "OSError", "KeyError", "ProcessLookupError", "gaierror"),
    *("ValueError: not allowed to raise maximum limit", "ErrorException: ", "Exception: "),
)


def require_nothing_got(called: Called) -> None:
    assert called.results is not None, called.outcome.stderr
    [result] = called.results
    assert result.error is not None, f"it got {result.value!r}"
    assert result.error.startswith(REFUSALS)
    assert result.error != "OSError: 32512"  # of a shell that has no such command


def test_what_is_allowed_works(sandbox: Sandbox) -> None:
    """Otherwise the tests below would pass in a sandbox in which nothing runs."""
    source = "def f(seen):\n open('/tmp/x', 'w').write('kept')\n return [open('/tmp/x').read()]"
    called = ran(sandbox, "python", source, "f", {})
    assert called.results is not None
    assert called.results[0].value == ["kept"]
    php = "<?php function f($seen) { file_put_contents('/tmp/x', 'kept'); return [file_get_contents('/tmp/x')]; }"
    called = ran(sandbox, "php", php, "f", {})
    assert called.results is not None
    assert called.results[0].value == ["kept"]


@pytest.mark.parametrize("name", PYTHON_ESCAPES)
def test_a_python_program_can_not(name: str, sandbox: Sandbox, seen: dict[str, Any]) -> None:
    require_nothing_got(ran(sandbox, "python", PYTHON_ESCAPES[name], "f", seen))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of another architecture")
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_the_kernel_refuses_to(name: str, sandbox: Sandbox) -> None:
    source = (
        "import ctypes, os\ndef f(arguments):\n libc = ctypes.CDLL(None, use_errno=True)\n"
        " if libc.syscall(*map(ctypes.c_long, arguments)) < 0: raise PermissionError(os.strerror(ctypes.get_errno()))\n"
    )
    called = ran(sandbox, "python", source, "f", list(SYSTEM_CALLS[name]))
    require_nothing_got(called)
    assert called.results is not None
    assert called.results[0].error == "PermissionError: Operation not permitted"


@pytest.mark.parametrize("name", PHP_ESCAPES)
def test_a_php_program_can_not(name: str, sandbox: Sandbox, seen: dict[str, Any]) -> None:
    require_nothing_got(ran(sandbox, "php", f"<?php function f($seen) {{ {PHP_ESCAPES[name]} }}", "f", seen))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_contained(name: str, sandbox: Sandbox) -> None:
    language, source, endings = BOMBS[name]
    called = ran(sandbox, language, source, None)
    assert called.ending in endings, called.outcome
    assert called.results is None
    assert called.unparsed is None


def test_nothing_outlives_its_program(sandbox: Sandbox) -> None:
    """A child that has left its session is gone with the sandbox, at once."""
    name = f"4{os.getpid()}"
    source = (
        "import os, time\ndef f(seconds):\n child = os.fork()\n if child == 0:\n  os.setsid()\n"
        "  os.closerange(0, 64)\n  os.execvp('sleep', ['sleep', seconds])\n"
        " time.sleep(0.2)\n return list(os.waitpid(child, os.WNOHANG))\n"
    )
    called = ran(sandbox, "python", source, "f", name)
    assert called.results is not None
    assert called.results[0].value == [0, 0]  # it was still asleep
    deadline = time.monotonic() + 5
    while left := [p for p in Path("/proc").glob("[0-9]*/cmdline") if _read(p) == f"sleep\0{name}\0".encode()]:
        assert time.monotonic() < deadline, left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
