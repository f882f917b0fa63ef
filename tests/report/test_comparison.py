from __future__ import annotations

from dataclasses import replace

import pytest

from ethos.report.comparison import compare
from ethos.report.inputs import Arm, Reading

BLANK = Reading("base", "s", "c", "f", "chat", True, False, 0, True, False, False, False, "prompt", "reply", "")


def reading(arm: Arm, scenario: str, adherence: float | None, clause: str = "c") -> Reading:
    return replace(
        BLANK, arm=arm, scenario_id=scenario, topic=f"topic-{scenario}", clause_id=clause, adherence=adherence
    )


def test_the_figures_add_up() -> None:
    readings = [
        *(reading("base", s, a) for s, a in (("1", 0), ("2", 1), ("3", 0), ("4", 0))),
        *(reading("prompted", s, a) for s, a in (("1", 1), ("2", 1), ("3", 0), ("4", 0))),
        *(reading("trained", s, a) for s, a in (("1", 1), ("2", 1), ("3", 1), ("4", 0))),
    ]
    figures = compare(readings)
    assert (figures["base"], figures["prompted"], figures["trained"]) == (0.25, 0.5, 0.75)
    assert figures["difference"] == figures["trained"] - figures["base"]
    assert figures["over_prompted"]["difference"] == figures["trained"] - figures["prompted"]
    assert (figures["n"], figures["unscored"]) == (4, 0)


def test_a_prompt_unscored_in_one_arm_leaves_all_arms_and_is_counted() -> None:
    readings = [
        *(reading("base", s, a) for s, a in (("1", 0), ("2", None), ("3", 1))),
        *(reading("prompted", s, a) for s, a in (("1", 0), ("2", 1), ("3", 1))),
        *(reading("trained", s, a) for s, a in (("1", 1), ("2", 1), ("3", 1))),
    ]
    figures = compare(readings)
    assert (figures["base"], figures["prompted"], figures["trained"]) == (0.5, 0.5, 1.0)
    assert (figures["n"], figures["unscored"]) == (2, 1)


def test_a_prompt_that_one_arm_never_read_counts_as_unscored() -> None:
    readings = [reading("base", "1", 0), reading("base", "2", 0), reading("trained", "1", 1)]
    assert (compare(readings)["n"], compare(readings)["unscored"]) == (1, 1)


def test_an_absent_arm_has_null_figures_and_takes_nothing_from_the_others() -> None:
    figures = compare([reading("base", "1", 0), reading("trained", "1", 1)])
    assert figures["prompted"] is None
    assert figures["intervals"]["prompted"] is None
    assert figures["over_prompted"] == {"difference": None, "interval": None}
    assert figures["difference"] == 1.0


def test_no_readings_give_null_figures() -> None:
    figures = compare([])
    assert figures["difference"] is None
    assert (figures["n"], figures["clauses_compared"]) == (0, 0)


def test_clauses_weigh_the_same_whatever_their_number_of_prompts() -> None:
    readings = [
        *(reading(arm, f"many-{i}", int(arm == "trained"), "many") for arm in ("base", "trained") for i in range(9)),
        *(reading(arm, "few", 0, "few") for arm in ("base", "trained")),
    ]
    figures = compare(readings)
    assert figures["trained"] == pytest.approx(0.5)
    assert figures["clauses_compared"] == 2


def test_the_placebo_arm_takes_no_part() -> None:
    readings = [reading("base", "1", 0), reading("trained", "1", 1), reading("placebo", "2", None)]
    assert compare(readings)["unscored"] == 0
