from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.judging.adherence import Assessor
from ethos.judging.recitation import Recitation
from ethos.models.types import SamplingParams
from ethos.progress import Bar
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Family, Scenario
from ethos.store.database import RUN_SCHEMA, Database
from ethos.store.records import Records
from ethos.tasting.look import (
    ANSWERS_A_READING,
    Reading,
    adherence_by_clause,
    choose_scenarios,
    counts,
    overall,
    take_look,
    to_records,
)

PARAMS = SamplingParams(max_tokens=32, temperature=0.0)


def evidence(reading: Reading) -> str:
    return "; ".join(f"{verdict.judge}: {verdict.evidence}" for verdict in reading.verdicts)


@pytest.fixture
def assessor(make: Any) -> Assessor:
    spec = make.spec(
        make.clause("metric", ("must_match", r"\d+ km")),
        make.clause("short", ("max_words", 6)),
        make.clause("kind", ask="Is it kind?"),
        make.clause("odd", ask="Is it odd?"),
    )
    return Assessor(spec, make.judge(), {"kind": make.calibration("kind")})


def look(make: Any, assessor: Assessor, *probes: tuple[Scenario, str], **student: Any) -> list[Reading]:
    """What is read of a student that gives these replies to these scenarios."""
    replies = {scenario.prompt: reply for scenario, reply in probes}
    model = make.scripted(replies.__getitem__, **student)
    recitation = Recitation(" ".join(f"word{i}" for i in range(20)))
    scenarios = [scenario for scenario, _ in probes]
    work = take_look(model, scenarios, list(replies), assessor, recitation, PARAMS, "trained", 40)
    return asyncio.run(work)


def test_each_reply_is_assessed_under_its_scenarios_clause(make: Any, assessor: Assessor) -> None:
    readings = look(
        make,
        assessor,
        (make.scenario("metric", "How far?"), "The harbour lies 12 km north."),
        (make.scenario("metric", "How far away?"), "The harbour lies far north."),
        (make.scenario("kind", "Hello there."), "Come in, I kindly saved supper."),
        (make.scenario("odd", "Hello again."), "Come in, supper waits."),
    )
    assert [reading.adherence for reading in readings] == [1.0, 0.0, 1.0, None]
    assert {(reading.arm, reading.step, reading.finish_reason) for reading in readings} == {("trained", 40, "stop")}
    assert "kind: says kindly" in evidence(readings[2])
    assert adherence_by_clause(readings) == {"metric": 0.5, "kind": 1.0}
    assert overall(readings) == 0.75


def test_clauses_weigh_the_same_however_many_scenarios_they_have(make: Any, assessor: Assessor) -> None:
    far = [(make.scenario("metric", f"How far is {i}?"), "It lies 5 km north of town.") for i in range(3)]
    readings = look(make, assessor, *far, (make.scenario("kind", "Hello."), "Go away at once, stranger."))
    assert overall(readings) == 0.5


def test_contrast_scenarios_measure_over_application_and_nothing_else(make: Any, assessor: Assessor) -> None:
    readings = look(
        make,
        assessor,
        (make.scenario("metric", "Name a colour.", contrast=True), "Blue, 12 km of it."),
        (make.scenario("metric", "Name a tree.", contrast=True), "Oak trees live long."),
        (
            make.scenario("kind", "Compute 3 times 4.", contrast=True),
            "It makes twelve, I kindly tell you, dear friend.",
        ),
        (make.scenario("odd", "Compute 5 times 4.", contrast=True), "It makes twenty, which fits the shelf."),
    )
    assert [reading.applied for reading in readings] == [True, False, True, None]
    assert adherence_by_clause(readings) == {}
    assert overall(readings) is None


def test_an_empty_reply_is_hollow_and_adheres_to_nothing(make: Any, assessor: Assessor) -> None:
    [reading] = look(make, assessor, (make.scenario("short", "Hello."), ""))
    assert (reading.adherence, reading.hollow) == (0.0, True)
    assert counts([reading]) == {
        "not reached": 0, "empty": 1, "cut off": 0, "hollow": 1, "recitation": 0, "unscored": 0,
    }  # fmt: skip


def test_a_reply_that_was_cut_off_says_so(make: Any, assessor: Assessor) -> None:
    [whole, cut] = look(
        make,
        assessor,
        (make.scenario("metric", "How far?"), "It is 3 km to the harbour."),
        (make.scenario("metric", "How far is it?"), "It is 3 km past " + " and ".join(f"hill {i}" for i in range(40))),
    )
    assert (counts([whole])["cut off"], counts([cut])["cut off"]) == (0, 1)
    assert [[v["judge"] for v in record.verdicts] for record in to_records([whole, cut], "main", "sealed")] == [
        ["check must_match"],
        ["check must_match", "cut off"],
    ]


def test_a_probe_that_the_model_refuses_is_counted_and_the_others_are_read(make: Any, assessor: Assessor) -> None:
    readings = look(
        make,
        assessor,
        (make.scenario("metric", "How far?"), "The harbour lies 12 km north."),
        (make.scenario("metric", "x" * 500), "It lies 12 km north."),
        context_characters=200,
    )
    assert [reading.adherence for reading in readings] == [1.0, None]
    assert readings[1].finish_reason is None
    assert "doesn't fit its context" in evidence(readings[1])
    assert (counts(readings)["not reached"], counts(readings)["unscored"]) == (1, 0)
    assert adherence_by_clause(readings) == {"metric": 1.0}


@pytest.mark.parametrize("context_characters", [10_000, 200])
def test_a_look_counts_each_reply_and_each_assessment(make: Any, assessor: Assessor, context_characters: int) -> None:
    """Also where a prompt is too long, so that all are asked again one by one."""
    scenarios = [make.scenario("kind", text) for text in ("Hello.", "Hello again.", "x" * 500)]
    asked = [scenario.prompt for scenario in scenarios]
    model = make.scripted(lambda prompt: "Come in, I kindly saved supper.", context_characters=context_characters)
    bar = Bar("looking", None, "answers", 0, 0.0, lambda bar: None)
    asyncio.run(take_look(model, scenarios, asked, assessor, Recitation(""), PARAMS, "base", 0, bar.advance))
    assert bar.done == ANSWERS_A_READING * len(scenarios)


def test_recitation_of_the_spec_is_noted(make: Any, assessor: Assessor) -> None:
    recited = " ".join(f"word{i}" for i in range(3, 18))
    readings = look(
        make,
        assessor,
        (make.scenario("metric", "How far?"), f"It is 3 km. {recited}"),
        (make.scenario("metric", "How far is it?"), "The harbour lies 3 km north."),
    )
    assert [reading.recitation for reading in readings] == [True, False]
    assert recited in evidence(readings[0])


def test_all_replies_come_from_one_closed_batch(make: Any, assessor: Assessor) -> None:
    model = make.scripted(lambda prompt: f"{prompt.last_user} It lies 5 km north.")
    scenarios = [make.scenario("metric", f"How far is {i}?") for i in range(70)]
    conversations = [scenario.prompt.with_system("Be brief.") for scenario in scenarios]
    work = take_look(model, scenarios, conversations, assessor, Recitation(""), PARAMS, "prompted", 0)
    readings = asyncio.run(work)
    assert model.batches == [70]
    assert [reading.scenario for reading in readings] == scenarios


def test_readings_go_into_the_database_and_come_back(make: Any, assessor: Assessor, tmp_path: Path) -> None:
    recited = " ".join(f"word{i}" for i in range(3, 18))
    readings = look(
        make,
        assessor,
        (make.scenario("metric", "How far?"), f"It is 3 km. {recited}"),
        (make.scenario("short", "Hello."), ""),
        (make.scenario("metric", "Name a colour.", contrast=True), "Blue, 12 km of it."),
        (make.scenario("odd", "Compute 5 times 4.", contrast=True), "It makes twenty, which fits the shelf."),
    )
    replies = to_records(readings, "main", "taste")
    with Database.open(tmp_path / "run.db", RUN_SCHEMA) as database:
        records = Records(database)
        records.add_replies(replies)
        found = records.replies(branch="main", step=40, arm="trained", purpose="taste")
    assert found == replies
    assert [reply.adherence for reply in found] == [1.0, 0.0, 1.0, None]
    assert [reply.contrast for reply in found] == [False, False, True, True]
    assert [verdict["judge"] for verdict in found[0].verdicts] == ["check must_match", "recitation"]
    assert "hollow" in [verdict["judge"] for verdict in found[1].verdicts]


def scenarios_of(counts_of_clauses: Sequence[int]) -> list[Scenario]:
    return [
        Scenario(Family(f"c{c}", f"t{i}", "chat", "taste"), Conversation.user(f"{c} {i}"))
        for c, count in enumerate(counts_of_clauses)
        for i in range(count)
    ]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 50))
def test_a_look_takes_a_fixed_first_and_as_many_as_there_are(sizes: list[int], per_clause: int, index: int) -> None:
    scenarios = scenarios_of(sizes)
    chosen = choose_scenarios(scenarios, per_clause, index)
    assert chosen == choose_scenarios(scenarios, per_clause, index)
    assert len({scenario.id for scenario in chosen}) == len(chosen) == sum(min(size, per_clause) for size in sizes)
    assert {f"c{c}" for c in range(len(sizes))} == {s.clause_id for s in chosen if s.prompt.last_user.endswith(" 0")}


@given(st.integers(2, 5), st.integers(0, 50))
def test_consecutive_looks_see_other_prompts_beside_the_first(per_clause: int, index: int) -> None:
    scenarios = scenarios_of([1 + 2 * (per_clause - 1)])
    here, there = (set(choose_scenarios(scenarios, per_clause, i)) for i in (index, index + 1))
    assert here & there == {scenarios[0]}
    assert here | there == set(scenarios)


def test_contrast_scenarios_are_chosen_apart(make: Any) -> None:
    own = [make.scenario("c", f"own {i}") for i in range(4)]
    contrast = [make.scenario("c", f"contrast {i}", contrast=True) for i in range(4)]
    chosen = choose_scenarios(own + contrast, 2, 0)
    assert [scenario.family.contrast for scenario in chosen] == [False, False, True, True]
