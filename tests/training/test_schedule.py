from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from ethos.store.config.knobs import Knobs, MixtureKnobs
from ethos.store.config.training import StageConfig, TrainingConfig
from ethos.training.objectives import OBJECTIVES
from ethos.training.schedule import plan_step, rate_factor


def config(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"steps": 100, "warmup": 0.1} | fields)


STAGES = (
    StageConfig(name="first", share=0.25, documents=1.0, demonstrations=0.0),
    StageConfig(name="second", share=0.33, documents=0.5, demonstrations=1.0),
    StageConfig(name="third", share=0.42, documents=0.0, demonstrations=0.2),
)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_rises_to_its_peak_over_the_warm_up(schedule: str) -> None:
    rates = [rate_factor(config(schedule=schedule), step) for step in range(11)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0


def test_a_constant_rate_stays() -> None:
    assert rate_factor(config(schedule="constant"), 99) == 1.0


def test_a_linear_rate_falls_evenly_and_the_last_step_still_trains() -> None:
    rates = [rate_factor(config(schedule="linear"), step) for step in range(10, 100)]
    assert rates == pytest.approx([1 - i / 90 for i in range(90)])
    assert rates[-1] > 0


def test_a_cosine_rate_is_at_half_in_the_middle() -> None:
    rates = [rate_factor(config(schedule="cosine"), step) for step in range(10, 100)]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])
    assert rates[45] == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_without_a_warm_up_or_with_nothing_else_the_rate_is_still_a_rate(warmup: float) -> None:
    rates = [rate_factor(config(warmup=warmup), step) for step in range(100)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1.0


def test_stages_take_their_share_of_the_steps_in_order() -> None:
    names = [plan_step(config(stages=STAGES), Knobs(), step).stage for step in range(100)]
    assert names == ["first"] * 25 + ["second"] * 33 + ["third"] * 42


def test_a_stage_gets_a_step_however_small_its_share() -> None:
    short = StageConfig(name="short", share=0.004, documents=1.0)
    rest = StageConfig(name="rest", share=0.996, documents=1.0)
    first, last = config(stages=(short, rest)), config(stages=(rest, short))
    assert [plan_step(first, Knobs(), step).stage for step in range(100)] == ["short"] + ["rest"] * 99
    assert [plan_step(last, Knobs(), step).stage for step in range(100)] == ["rest"] * 99 + ["short"]


def test_fewer_steps_than_stages_are_refused() -> None:
    with pytest.raises(ValidationError, match="stages: there are 3, and 2 steps; give each stage a step"):
        config(stages=STAGES, steps=2)


def test_a_step_past_the_plan_belongs_to_the_last_stage() -> None:
    assert plan_step(config(stages=STAGES), Knobs(), 100).stage == "third"


def test_a_plan_scales_the_knobs_by_schedule_and_stage() -> None:
    knobs = Knobs(lr=1e-3, mixture=MixtureKnobs(documents=2.0, demonstrations=0.5))
    plan = plan_step(config(stages=STAGES), knobs, 4)
    assert plan.stage == "first"
    assert plan.lr == pytest.approx(5e-4)
    others = dict.fromkeys(("preferences", "reward_model", "rewards", "distillation"), 0.0)
    assert plan.weights == {"documents": 2.0, "demonstrations": 0.0, **others}
    later = plan_step(config(stages=STAGES), knobs, 30)
    assert later.weights == {"documents": 1.0, "demonstrations": 0.5, **others}


def test_a_transition_goes_evenly_from_the_weights_of_the_stage_before() -> None:
    second = STAGES[1].model_copy(update={"transition": 0.12})  # 4 of its 33 steps
    stages = (STAGES[0], second, STAGES[2].model_copy(update={"transition": 1.0}))
    knobs = Knobs(mixture=MixtureKnobs(documents=2.0, demonstrations=1.0))
    plans = [plan_step(config(stages=stages), knobs, step) for step in range(100)]
    assert [plan.weights["documents"] for plan in plans[24:30]] == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0, 1.0])
    assert [plan.weights["demonstrations"] for plan in plans[24:30]] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert [plan.stage for plan in plans[24:26]] == ["first", "second"]
    assert [plan.weights["documents"] for plan in plans[58:]] == pytest.approx([1 - (i + 1) / 42 for i in range(42)])


def test_the_first_stage_has_nothing_to_come_from() -> None:
    with pytest.raises(ValidationError, match="stages: the first has none before it, so it has no transition"):
        config(stages=(STAGES[0].model_copy(update={"transition": 0.5}), *STAGES[1:]))


def test_objectives_have_one_order_everywhere() -> None:
    assert tuple(plan_step(config(), Knobs(), 0).weights) == tuple(OBJECTIVES)
