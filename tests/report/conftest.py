"""The example of a report, whole."""

from __future__ import annotations

from typing import Any

import pytest

from ethos.report.inputs import ReportInputs
from ethos.report.report import build_report
from example_report import build_example


@pytest.fixture(scope="session")
def example() -> ReportInputs:
    return build_example()


@pytest.fixture(scope="session")
def report(example: ReportInputs) -> dict[str, Any]:
    """What the example gives; a test that changes it takes a copy."""
    return build_report(example)
