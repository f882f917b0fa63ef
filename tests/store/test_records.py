import math
import sqlite3
from dataclasses import replace

import pytest

from ethos.spec.conversation import Conversation
from ethos.store.database import Database
from ethos.store.records import PolicySample, Records, Reply

REPLY = Reply(
    branch="main",
    step=20,
    arm="trained",
    purpose="taste",
    scenario_id="f1-aa",
    clause_id="units",
    topic_id="t1",
    context="email",
    pool="taste",
    contrast=False,
    prompt=Conversation.user("how far is it? 多远", "You are Wren."),
    reply="Twelve kilometres.",
    adherence=0.0,
    verdicts=({"score": None, "evidence": "<b>", "judge": "j", "clause_id": "units"},),
)


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


def test_metrics_are_read_by_name_and_by_step(records: Records) -> None:
    records.add_metrics("main", 2, {"loss": 2.5, "lr": 1e-4})
    records.add_metrics("main", 1, {"loss": 3.0})
    assert records.metric("main", "loss") == [(1, 3.0), (2, 2.5)]
    assert records.metrics_at("main", 2) == {"loss": 2.5, "lr": 1e-4}
    assert records.metric_names("main") == ["loss", "lr"]
    assert records.metric("main", "nothing") == []


def test_a_step_repeated_after_a_kill_doubles_no_metric(records: Records) -> None:
    records.add_metrics("main", 1, {"loss": 3.0})
    records.add_metrics("main", 1, {"loss": 3.0})
    assert records.metric("main", "loss") == [(1, 3.0)]


def test_a_loss_that_diverged_is_kept(records: Records) -> None:
    records.add_metrics("main", 1, {"loss": math.nan, "norm": math.inf})
    assert math.isnan(records.metric("main", "loss")[0][1])
    assert math.isnan(records.metrics_at("main", 1)["loss"])
    assert records.metrics_at("main", 1)["norm"] == math.inf


def test_replies_are_read_back_whole(records: Records) -> None:
    unscored = replace(REPLY, clause_id="name", adherence=None, contrast=True, verdicts=())
    records.add_replies([REPLY, unscored])
    assert records.replies() == [REPLY, unscored]


def test_replies_are_chosen_by_what_is_given(records: Records) -> None:
    base = replace(REPLY, arm="base", step=0)
    sealed = replace(REPLY, purpose="sealed")
    records.add_replies([REPLY, base, sealed])
    assert records.replies(step=0) == [base]
    assert records.replies(arm="trained", purpose="taste") == [REPLY]
    assert records.replies(clause_id="units", branch="main", purpose="sealed") == [sealed]
    assert records.replies(clause_id="units' OR 1") == []


def test_a_look_taken_again_takes_the_place_of_the_first(records: Records) -> None:
    records.add_replies([REPLY])
    records.add_replies([replace(REPLY, adherence=1.0)])
    assert [reply.adherence for reply in records.replies()] == [1.0]


def test_samples_are_read_instead_of_drawn_again(records: Records) -> None:
    first = PolicySample(
        branch="main", step=3, purpose="rollout", asked_digest="d", draw=0, payload={"text": "a", "ids": [1, 2]}
    )
    records.add_samples([first, replace(first, draw=1), replace(first, step=4)])
    records.add_samples([replace(first, payload={"text": "another"})])
    assert records.samples("main", 3, "rollout") == {("d", 0): first.payload, ("d", 1): first.payload}
    assert records.samples("main", 3, "taste") == {}


def test_a_step_has_one_batch_record_for_ever(records: Records) -> None:
    assert records.batch("main", 1) is None
    records.add_batch("main", 1, {"rows": ["a", "b"], "logprobs": [-0.123456789012345]})
    with pytest.raises(sqlite3.IntegrityError):
        records.add_batch("main", 1, {"rows": ["c"]})
    assert records.batch("main", 1) == {"rows": ["a", "b"], "logprobs": [-0.123456789012345]}


def test_nothing_is_recorded_for_a_branch_that_is_not_there(records: Records) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        records.add_metrics("nowhere", 1, {"loss": 1.0})


def test_a_step_is_begun_as_soon_as_others_are_asked_for_it(records: Records) -> None:
    assert not records.is_begun("main", 3)
    records.begin_draw("main", 3, {"lr": 0.5})
    assert records.is_begun("main", 3)
    assert records.drawn_with("main", 3) == {"lr": 0.5}
    records.add_batch("main", 4, {"lr": 1.0})
    assert records.is_begun("main", 4)
    assert records.drawn_with("main", 4) is None
    assert not records.is_begun("main", 5)
    assert not records.is_trained("main", 4)
    records.add_metrics("main", 4, {"gradient_norm": 0.0})
    assert records.is_trained("main", 4)


def test_what_a_reference_gave_is_kept_by_row(records: Records) -> None:
    records.add_references({"a": [-1.5, -2.25], "b": [-0.1, -0.2]})
    records.add_references({"a": [0.0, 0.0], "c": [-3.0, -4.0]})  # the first stays
    assert records.references(["a", "c", "a", "z"]) == {"a": [-1.5, -2.25], "c": [-3.0, -4.0]}
    assert records.references([]) == {}
