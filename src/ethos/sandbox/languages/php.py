"""PHP programs, by the command line without its settings, whose reading takes longer than a program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_USUAL = ("ctype", "iconv", "mbstring", "tokenizer")
_HARNESS = Path(__file__).with_name("php_harness.php")


class Php:
    """PHP 8."""

    name, title, opening = "php", "PHP", "<?php"

    def holds(self, value: Any) -> bool:
        """Integers have 64 bits, and keys of a map are integers or text."""
        if isinstance(value, dict):
            return all(type(key) in (int, str) and self.holds(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return all(map(self.holds, value))
        return not isinstance(value, int) or -(2**63) <= value < 2**63

    def missing(self) -> str | None:
        """Whether there is a php under /usr."""
        found = shutil.which("php")
        if found is None:
            return "there is no php on the path; install it (Debian: apt install php-cli)"
        if not Path(found).resolve().is_relative_to("/usr"):
            return (
                f"{found} lies outside /usr, which is all that a sandbox shows; install the system's (Debian: php-cli)"
            )
        return None

    def command(self) -> list[str]:
        """The real file, since /usr/bin/php is a link by way of /etc; warnings go to standard error."""
        php = str(Path(shutil.which("php") or "php").resolve())
        settings = ("display_errors=stderr", "html_errors=0", "memory_limit=-1", *_extensions(php))
        return [php, "-n", *(part for setting in settings for part in ("-d", setting)), "/harness/harness.php"]

    def files(self) -> Mapping[str, Path]:
        """The harness."""
        return {"/harness/harness.php": _HARNESS}

    def folders(self) -> Mapping[str, Path]:
        """None."""
        return {}


@cache
def _extensions(php: str) -> tuple[str, ...]:
    """Settings that load the extensions which programs take for granted, of those that are installed."""
    asked = [php, "-n", "-r", "echo PHP_EXTENSION_DIR;"]
    folder = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return tuple(f"extension={name}" for name in _USUAL if (folder / f"{name}.so").exists())
