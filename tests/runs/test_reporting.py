"""A judged clause counts in a report only with a calibration that passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ethos.judging.calibration import Calibration
from ethos.runs.reporting import Findings, report_inputs
from ethos.runs.session import Session
from ethos.spec.parse import parse_text
from ethos.tasting.canaries import CanaryReading

SPEC = parse_text(
    "# House rules\n\n## Short {#short}\n\nIt keeps it short.\n\n```ethos\nchecks: {max_words: 20}\n```\n"
    + "".join(
        f"\n## {name} {{#{name}}}\n\nIt is {name}.\n\n```ethos\ntier: should\n```\n"
        for name in ("kind", "calm", "wise", "new")
    ),
    "House rules",
    Path("s.md"),
)
PASSED = Calibration("kind", "judge (rubric_sealed)", "Is it kind?", 0.9, 0.8, 1.0, 0.5, True, 8, 8, "")
WEAK = replace(PASSED, clause_id="calm", auc=0.6, low=0.3, passed=False, reason="an AUC of 0.60")
SILENT = replace(
    PASSED, clause_id="wise", auc=None, low=None, high=None, cut=None, passed=False, reason="the same odds"
)


def test_each_judged_clause_without_a_judge_that_passed_is_unmeasurable_with_the_reason(session: Session) -> None:
    canary = CanaryReading({}, {}, {}, 0.0)
    calibrations = {found.clause_id: found for found in (PASSED, WEAK, SILENT)}
    found = Findings(SPEC.clauses, calibrations, canary, canary, {"variants": {}, "chosen": "whole"}, 1, {}, {})
    inputs = report_inputs(replace(session, spec=SPEC), found)
    assert inputs.unmeasurable == {"calm": "an AUC of 0.60", "wise": "the same odds", "new": "no calibration"}
    shown = [(c.clause_id, c.auc, c.interval, c.passed, c.question) for c in inputs.calibrations]
    assert shown == [
        ("kind", 0.9, (0.8, 1.0), True, "Is it kind?"),
        ("calm", 0.6, (0.3, 1.0), False, "Is it kind?"),
    ]
