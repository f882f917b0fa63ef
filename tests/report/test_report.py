from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ethos.report import writing
from ethos.report.inputs import Metric, ReportInputs
from ethos.report.report import build_report

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))


def validate(report: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(report, allow_nan=False)))


def test_the_schema_in_the_docs_is_the_one_that_the_writer_checks_against() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(writing.SCHEMA.read_text(encoding="utf-8")) == SCHEMA


def test_a_report_is_what_the_schema_describes(report: dict[str, Any]) -> None:
    validate(report)


def test_equal_inputs_give_an_equal_report(example: ReportInputs, report: dict[str, Any]) -> None:
    assert build_report(example) == report


@pytest.mark.parametrize(
    "break_it",
    [
        lambda r: r.pop("placebo"),
        lambda r: r.update(extra=1),
        lambda r: r["overall"].update(extra=1),
        lambda r: r["overall"].update(trained=1.2),
        lambda r: r["overall"]["checked"].pop("interval"),
        lambda r: r["clauses"][0].update(measurable=False),
        lambda r: r["clauses"][0].update(interval=[0.1]),
        lambda r: r["rows"].update(document=-1),
    ],
)
def test_the_schema_refuses_what_is_not_a_report(report: dict[str, Any], break_it: Any) -> None:
    broken = json.loads(json.dumps(report))
    break_it(broken)
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


def test_a_clause_whose_judge_failed_calibration_has_null_figures_and_no_part_in_overall(
    report: dict[str, Any],
) -> None:
    clause = next(c for c in report["clauses"] if c["id"] == "dry-humour")
    assert clause["measurable"] is False
    assert clause["base"] is clause["trained"] is clause["difference"] is clause["interval"] is None
    assert clause["auc"] == 0.61
    assert report["overall"]["clauses_compared"] == 8
    [reason] = report["unmeasurable"]
    assert reason["clause"] == "dry-humour"
    assert "0.61 [0.41, 0.78]" in reason["reason"]


def test_overall_is_the_mean_over_measurable_clauses(report: dict[str, Any]) -> None:
    measurable = [c for c in report["clauses"] if c["measurable"]]
    for figure in ("base", "prompted", "trained", "difference"):
        assert report["overall"][figure] == pytest.approx(sum(c[figure] for c in measurable) / len(measurable))
    assert report["overall"]["n"] == sum(c["n"] for c in measurable)


def test_groups_split_the_prompts(report: dict[str, Any]) -> None:
    overall = report["overall"]
    assert overall["checked"]["n"] + overall["judged"]["n"] == overall["n"]
    assert overall["in_context"]["n"] + overall["out_of_context"]["n"] == overall["n"]
    assert overall["checked"]["clauses_compared"] == 4


def test_contrast_scenarios_give_over_application_and_never_adherence(
    example: ReportInputs, report: dict[str, Any]
) -> None:
    applied = replace(
        example,
        readings=tuple(
            replace(r, adherence=1 if r.arm == "trained" else 0) if r.contrast else r for r in example.readings
        ),
    )
    overall = build_report(applied)["overall"]
    assert (overall["over_application"]["base"], overall["over_application"]["trained"]) == (0.0, 1.0)
    assert overall["trained"] == report["overall"]["trained"]


def test_recited_and_hollow_replies_are_counted_for_every_arm(example: ReportInputs) -> None:
    readings = tuple(
        replace(r, recitation=r.arm == "trained", hollow=r.arm == "base") for r in example.readings if not r.contrast
    )
    overall = build_report(replace(example, readings=readings))["overall"]
    assert [overall["recitation"][arm] for arm in ("base", "prompted", "trained")] == [0.0, 0.0, 1.0]
    assert [overall["hollow"][arm] for arm in ("base", "prompted", "trained")] == [1.0, 0.0, 0.0]


def test_replies_that_were_cut_off_are_counted_and_probes_that_reached_nobody_are_not(example: ReportInputs) -> None:
    readings = tuple(
        replace(r, cut_off=r.arm == "base", reached=r.arm != "prompted") for r in example.readings if not r.contrast
    )
    overall = build_report(replace(example, readings=readings))["overall"]
    assert (overall["cut_off"]["n"], overall["hollow"]["n"]) == (0, 0)  # nothing is compared that one arm never saw
    reached = tuple(replace(r, reached=True) for r in readings)
    overall = build_report(replace(example, readings=reached))["overall"]
    assert [overall["cut_off"][arm] for arm in ("base", "prompted", "trained")] == [1.0, 0.0, 0.0]


def test_the_placebo_is_compared_with_trained_and_is_null_without_one(
    example: ReportInputs, report: dict[str, Any]
) -> None:
    placebo = report["placebo"]
    assert placebo["difference"] == pytest.approx(placebo["trained"] - placebo["placebo"])
    assert placebo["interval"][0] > 0
    assert placebo["loss_tokens"] == {"trained": 48211, "placebo": 48211}
    without = replace(example, readings=tuple(r for r in example.readings if r.arm != "placebo"))
    assert build_report(without)["placebo"] is None


def test_the_same_judge_is_flagged_and_warned_of(example: ReportInputs, report: dict[str, Any]) -> None:
    assert report["same_judge"] is True
    assert any(warning.startswith("same judge") for warning in report["warnings"])
    other = build_report(replace(example, same_judge=False))
    assert other["same_judge"] is False
    assert not any(warning.startswith("same judge") for warning in other["warnings"])


def test_labels_that_the_teacher_gave_itself_are_named_and_warned_of(
    example: ReportInputs, report: dict[str, Any]
) -> None:
    assert [c["labels"] for c in report["clauses"] if c["kind"] == "judged"] == ["file"] * 4 + ["teacher"]
    assert {c["labels"] for c in report["clauses"] if c["kind"] == "checked"} == {None}
    assert any(warning.startswith("labels: ") for warning in report["warnings"])
    by_hand = tuple(replace(found, labels="file") for found in example.calibrations)
    assert not any(w.startswith("labels: ") for w in build_report(replace(example, calibrations=by_hand))["warnings"])


def test_where_nothing_is_measurable_overall_is_null_with_a_warning(example: ReportInputs) -> None:
    reasons = {clause.id: "its judge was never loaded" for clause in example.spec.clauses}
    nothing = build_report(replace(example, unmeasurable=reasons))
    validate(nothing)
    assert nothing["overall"]["trained"] is nothing["overall"]["interval"] is nothing["placebo"] is None
    assert any("no clause could be measured" in warning for warning in nothing["warnings"])


def test_a_run_that_was_read_in_no_arm_is_still_a_report(example: ReportInputs) -> None:
    empty = replace(example, readings=(), looks=(), metrics=(), base_canary=None, prompted_variants=(), journal=())
    unread = build_report(empty)
    validate(unread)
    assert len(unread["unmeasurable"]) == len(example.spec.clauses)
    assert unread["canaries"] == {}


def test_a_judged_clause_without_calibration_is_not_measurable(example: ReportInputs) -> None:
    uncalibrated = build_report(replace(example, calibrations=()))
    assert {item["clause"] for item in uncalibrated["unmeasurable"]} == {
        c.id for c in example.spec.clauses if c.kind == "judged"
    }


def test_sampled_replies_depend_on_no_outcome(example: ReportInputs, report: dict[str, Any]) -> None:
    turned = tuple(
        replace(r, adherence=None if r.adherence is None else 0 if r.adherence else 1) for r in example.readings
    )
    again = build_report(replace(example, readings=turned))
    assert [s["scenario"] for s in again["replies"]] == [s["scenario"] for s in report["replies"]]
    for clause in example.spec.clauses:
        samples = [s for s in report["replies"] if s["clause"] == clause.id]
        assert [s["in_training_context"] for s in samples] == [True, False]
        assert [[r["arm"] for r in s["replies"]] for s in samples] == [["base", "prompted", "trained"]] * 2


def test_looks_carry_the_mean_over_the_clauses_of_a_step(report: dict[str, Any]) -> None:
    assert [look["step"] for look in report["looks"]] == [0, 30, 60, 90, 120]
    look = report["looks"][-1]
    values = [clause["adherence"] for clause in look["clauses"].values()]
    assert look["overall"] == pytest.approx(sum(values) / len(values))


def test_a_loss_that_is_no_number_is_null(example: ReportInputs) -> None:
    metrics = (Metric(2, "loss.documents", float("nan")), Metric(1, "loss.documents", 2.0))
    assert build_report(replace(example, metrics=metrics))["metrics"] == {"loss.documents": [[1, 2.0], [2, None]]}


def test_costs_are_summed_over_roles(report: dict[str, Any]) -> None:
    cost = report["cost"]
    assert (cost["calls"], cost["cached"], cost["tokens"]) == (1423 + 2210 + 1560, 120, 412_330 + 690_120 + 166_020)


def test_a_reading_of_an_unknown_clause_is_refused(example: ReportInputs) -> None:
    with pytest.raises(ValueError, match="does not have: elsewhere"):
        build_report(replace(example, readings=(replace(example.readings[0], clause_id="elsewhere"),)))


def test_each_clause_is_compared_in_the_contexts_it_was_trained_in_and_in_others(
    example: ReportInputs, report: dict[str, Any]
) -> None:
    for clause in (clause for clause in report["clauses"] if clause["measurable"]):
        assert clause["in_context"]["n"] + clause["out_of_context"]["n"] == clause["n"]
    inside = [r for r in example.readings if r.clause_id == "name" and r.in_training_context and not r.contrast]
    [name] = [clause for clause in report["clauses"] if clause["id"] == "name"]
    assert name["in_context"]["n"] == len({r.scenario_id for r in inside})
