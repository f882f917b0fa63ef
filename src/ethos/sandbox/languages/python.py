"""Python programs, with the standard library alone: by the system's interpreter, or else by the one that runs this."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ethos.sandbox import values

_SYSTEMS = Path("/usr/bin/python3")
_PLACE = "/python"  # of an interpreter that is not under /usr


class Python:
    """CPython, without what is installed beside it."""

    name, title, opening = "python", "Python", ""

    def holds(self, value: Any) -> bool:
        """Whatever crosses is Python's."""
        return True

    def missing(self) -> str | None:
        """Whether there is one that a sandbox can show."""
        if _SYSTEMS.exists() or all(_is_open_to_all(path) for path in self.folders().values()):
            return None
        return f"others may not read root's own Python ({sys.executable}); install the system's (Debian: python3)"

    def command(self) -> list[str]:
        """Without site packages, and without writing compiled files."""
        found = [str(_SYSTEMS.resolve())]
        if not _SYSTEMS.exists():
            found = ["/usr/bin/env", f"LD_LIBRARY_PATH={_PLACE}/lib", f"{_PLACE}/bin/python"]
        return [*found, "-S", "-B", "/harness/harness.py"]

    def files(self) -> Mapping[str, Path]:
        """The harness, and what it shares with this side of the wall."""
        harness = Path(__file__).with_name("python_harness.py")
        return {"/harness/harness.py": harness, "/harness/values.py": Path(values.__file__)}

    def folders(self) -> Mapping[str, Path]:
        """Of an interpreter that is not under /usr itself and its library, and nothing else that lies beside them."""
        if _SYSTEMS.exists():
            return {}
        prefix = Path(sys.base_prefix).resolve()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        shown = {f"{_PLACE}/bin/python": own, f"{_PLACE}/lib/{version}": prefix / "lib" / version}
        return shown | {f"{_PLACE}/lib/{path.name}": path for path in (prefix / "lib").glob("libpython*")}


def _is_open_to_all(path: Path) -> bool:
    """Whether whoever starts sandboxes sees it: for root, that is nobody in particular."""
    return os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)
