"""A report in a run's folder: checked against its schema, written by renaming into place, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.store.files import write_atomically

HTML = "report.html"
SCHEMA = Path(__file__).with_name("report.schema.json")


def write_report(report: Mapping[str, Any], run_dir: Path) -> tuple[Path, Path]:
    """Writes `report.html` and `report.json`; returns their paths in that order.

    Raises jsonschema.ValidationError, with nothing written, if the report is not what the schema describes:
    that is a bug here, nothing that a user could mend.
    """
    from jsonschema import Draft202012Validator

    from ethos.report.html import render_html

    Draft202012Validator(_schema()).validate(report)
    html_path, json_path = run_dir / HTML, run_dir / "report.json"
    text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_atomically(html_path, _encoded(render_html(report)))
    write_atomically(json_path, _encoded(text))
    return html_path, json_path


def html_of(report: Mapping[str, Any], run_dir: Path) -> Path:
    """The path of a finished run's `report.html`, rendered from its `report.json` again if it is gone.

    Raises EthosError if it can't be written.
    """
    path = run_dir / HTML
    if not path.exists():
        from ethos.report.html import render_html

        try:
            write_atomically(path, _encoded(render_html(report)))
        except OSError as error:
            raise EthosError(
                f"{path}: is gone and can't be written again ({error.strerror}); make the folder writable"
            ) from error
    return path


def read_report(json_path: Path) -> dict[str, Any]:
    """A report that was written. Raises FileNotFoundError, and ValueError for a file that holds none."""
    from jsonschema import Draft202012Validator

    report: dict[str, Any] = json.loads(json_path.read_text(encoding="utf-8"))
    if not Draft202012Validator(_schema()).is_valid(report):
        raise ValueError(f"{json_path}: not what report.schema.json describes")
    return report


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def _encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which a model's reply may hold, becomes a question mark."""
    return text.encode("utf-8", errors="replace")
