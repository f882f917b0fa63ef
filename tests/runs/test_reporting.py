"""A judged clause counts in a report only with a calibration that passed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ethos.judging.calibration import Calibration
from ethos.judging.labelled import CalibrationReply
from ethos.runs.reporting import Findings, report_inputs
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text
from ethos.spec.scenarios import Family, Scenario
from ethos.tasting.canaries import CanaryReading
from ethos.tasting.look import Reading, to_records
from runs.training_run import session_in

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
    found = Findings(
        SPEC.clauses, frozenset(), calibrations, True, canary, canary, {"variants": {}, "chosen": "whole"}, 1, {}, {}
    )
    given = CalibrationReply("kind", "Hi", "Dear!", good=True)
    inputs = report_inputs(replace(session, spec=SPEC, labelled=(given,)), found)
    assert inputs.unmeasurable == {"calm": "an AUC of 0.60", "wise": "the same odds", "new": "no calibration"}
    shown = [(c.clause_id, c.auc, c.interval, c.passed, c.question, c.labels) for c in inputs.calibrations]
    assert shown == [
        ("kind", 0.9, (0.8, 1.0), True, "Is it kind?", "file"),
        ("calm", 0.6, (0.3, 1.0), False, "Is it kind?", "teacher"),
    ]


def test_two_clones_of_a_run_report_one_config(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    canary = CanaryReading({}, {}, {}, 0.0)
    found = Findings(
        SPEC.clauses, frozenset(), {}, False, canary, canary, {"variants": {}, "chosen": "whole"}, 1, {}, {}
    )

    def config_digest(where: Path) -> str:
        with session_in(where) as session:
            return report_inputs(session, found).run.config_digest

    clone = tmp_path_factory.mktemp("clone")
    for name in ("config.yaml", "spec.md"):
        (clone / name).write_bytes((folder / name).read_bytes())
    assert config_digest(folder) == config_digest(clone)
    (clone / "config.yaml").write_text((clone / "config.yaml").read_text().replace("lr: 0.003", "lr: 0.002"))
    shutil.rmtree(clone / "runs")
    assert config_digest(folder) != config_digest(clone)


def test_replies_of_a_sealed_pool_that_was_made_anew_are_not_in_the_report(session: Session) -> None:
    prompt = Conversation.user("Who is there?")
    old, new = (Scenario(Family("short", topic, "chat", "sealed"), prompt) for topic in ("old", "new"))
    read = [Reading("base", 9, s, "I am.", "stop", 1.0, None, False, False, ()) for s in (old, new)]
    session.records.add_replies(to_records(read, "main", "sealed"))
    canary = CanaryReading({}, {}, {}, 0.0)
    found = Findings(
        SPEC.clauses, frozenset({new.id}), {}, False, canary, canary, {"variants": {}, "chosen": "whole"}, 1, {}, {}
    )
    assert [reading.scenario_id for reading in report_inputs(session, found).readings] == [new.id]
