"""The loop on a tiny random model: killed anywhere it goes on as if it had not been, and steps repeat their records."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ethos.runs.step_records
import runs.training_run
from ethos.errors import EthosError
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.types import Sample, SamplingParams
from ethos.runs.checkpoints import list_checkpoints
from ethos.runs.controls import Controls
from ethos.runs.prepared import prepare_rows, require_rows, without_rows
from ethos.runs.session import Session
from ethos.runs.step_records import Helpers, untrainable
from ethos.runs.training import Trainer, fork
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.journal import MAIN
from ethos.store.requests import file_request, read_answer
from ethos.store.rows import DemonstrationRow, TaskRow
from ethos.training.batch import TokenRow
from ethos.training.frozen import FrozenModel
from ethos.training.guard import Diverged
from ethos.training.memory import _DISTILLED_ENTRY_BYTES, _head_bytes, costs
from ethos.training.mixture import share_slots
from ethos.training.optimizer import MasterOptimizer
from ethos.training.outputs import Outputs
from ethos.training.policy import Policy
from ethos.training.schedule import plan_step
from runs.training_run import (
    ADAPTED,
    CONFIG,
    EVERY,
    LINEAGE,
    STEPS,
    losses,
    policy_of,
    prepared,
    rows,
    session_in,
    train,
    write_config,
)
from vllm_protocol import VllmProtocolServer


def controls_of(session: Session) -> Controls:
    found = Controls(session.run, session.journal, session.records, session.stages, MAIN, STEPS, asyncio.Event())
    found.restore()
    return found


@pytest.fixture(
    scope="module", params=[CONFIG, EVERY, ADAPTED], ids=["two objectives", "all objectives", "adapters, rloo"]
)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[Path, Path]:
    """The folders of two equal runs: one undisturbed, one killed often."""
    folders = (tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("disturbed"))
    for folder in folders:
        (folder / "tiny").symlink_to(tiny)
        write_config(folder, request.param)
    script = Path(__file__).with_name("killed_training.py")
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "ETHOS_CACHE": str(folders[0] / "cache")}
    command = [sys.executable, str(script), *map(str, folders)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= 3
    return folders


def test_losses_of_a_run_that_was_killed_often_are_bit_identical(both: tuple[Path, Path]) -> None:
    with session_in(both[0]) as undisturbed, session_in(both[1]) as disturbed:
        assert losses(disturbed) == losses(undisturbed)
        assert len(losses(undisturbed)["loss.documents"]) == STEPS


def test_batches_of_a_run_that_was_killed_often_are_the_same(both: tuple[Path, Path]) -> None:
    with session_in(both[0]) as undisturbed, session_in(both[1]) as disturbed:
        for step in range(1, STEPS + 1):
            assert disturbed.records.batch(MAIN, step) == undisturbed.records.batch(MAIN, step)


@pytest.mark.parametrize("which", [0, 1])
def test_no_row_is_consumed_twice_within_an_epoch(both: tuple[Path, Path], which: int) -> None:
    with session_in(both[which]) as session:
        records = [session.records.batch(MAIN, step) for step in range(1, STEPS + 1)]
    sizes = {"documents": 7, "demonstrations": 11, "preferences": 5, "reward_model": 5, "rewards": 9, "distillation": 9}
    for name, size in sizes.items():
        taken = [row_id for record in records if record for row_id in record["row_ids"].get(name, [])]
        assert len(taken) > size or name not in ("documents", "demonstrations")
        for start in range(0, len(taken), size):
            epoch = taken[start : start + size]
            assert len(set(epoch)) == len(epoch)


def test_the_loss_falls(both: tuple[Path, Path]) -> None:
    with session_in(both[0]) as session:
        found = [loss for _, loss in losses(session)["loss.documents"]]
    assert found[-1] < found[0] - 0.1


def test_a_step_that_has_a_record_repeats_it(folder: Path) -> None:
    """The record says what is trained, whatever the knobs or the mixture would say now."""
    with session_in(folder) as session:
        policy = policy_of(folder, session.config)
        asyncio.run(train(session, policy, steps=1))
        record = session.records.batch(MAIN, 1)
    assert record is not None
    own = {**record, "lr": 0.0, "rows": {"documents": [3]}}
    own["row_ids"] = {"documents": [prepared(policy)["documents"].tokens[3].row_id]}
    other = folder / "other"
    other.mkdir()
    (other / "tiny").symlink_to(folder / "tiny")
    write_config(other)
    with session_in(other) as session:
        session.records.add_batch(MAIN, 1, own)
        asyncio.run(train(session, policy_of(other, session.config), steps=1))
        assert session.records.metrics_at(MAIN, 1)["lr"] == 0.0
        assert "loss.demonstrations" not in session.records.metrics_at(MAIN, 1)
        assert session.records.batch(MAIN, 1) == json.loads(json.dumps(own))


def test_a_look_that_was_interrupted_is_taken_again(session: Session, folder: Path) -> None:
    """The checkpoint of its step is there, so no step is repeated, and only what is missing is looked at."""
    policy = policy_of(folder, session.config)
    looked: list[int] = []

    async def broken(step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt

    async def whole(step: int) -> None:
        looked.append(step)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(train(session, policy, broken))
    asyncio.run(train(session, policy_of(folder, session.config), whole))
    assert looked == list(range(8, STEPS + 1))
    asyncio.run(train(session, policy_of(folder, session.config), whole))
    assert looked[-1] == STEPS
    assert len(looked) == STEPS - 7


def test_going_on_under_another_build_is_told(session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=1))
    asyncio.run(train(session, policy_of(folder, session.config), steps=2))
    assert session.stages.notices("warning") == []
    monkeypatch.setattr("ethos.training.policy.__version__", "9.0")
    asyncio.run(train(session, policy_of(folder, session.config), steps=3))
    [warning] = session.stages.notices("warning")
    assert "→ 9.0: its losses may differ a little" in warning


def test_rows_that_are_too_long_are_counted(folder: Path, session: Session) -> None:
    policy = policy_of(folder, session.config)
    long = DemonstrationRow(Conversation.user("How much?").then("assistant", "It is 7. " * 100), LINEAGE)
    given = [*rows(), long]
    found = prepare_rows(policy.template, policy.config, "v1", given)
    assert found.left_out_of({"demonstrations": 1.0, "documents": 1.0}) == {
        "demonstrations: longer than the context": 1
    }
    assert found.left_out_of({"demonstrations": 0.0}) == {}
    assert prepare_rows(policy.template, policy.config, "v1", rows()).left_out_of({"demonstrations": 1.0}) == {}


def test_a_record_of_other_rows_is_refused(session: Session, folder: Path) -> None:
    policy = policy_of(folder, session.config)
    asyncio.run(train(session, policy, steps=1))
    record = session.records.batch(MAIN, 1)
    assert record is not None
    strange = {name: ["0" * 16 for _ in ids] for name, ids in record["row_ids"].items()}
    session.records.add_batch(MAIN, 2, {**record, "row_ids": strange})
    with pytest.raises(EthosError, match="step 2: the rows of documents are not those that its record names"):
        asyncio.run(train(session, policy, steps=2))


def test_a_knob_changed_between_steps_is_in_force_from_the_next(session: Session, folder: Path) -> None:
    async def look(step: int) -> None:
        if step == 5:
            file_request(session.run, "adjust", {"changes": {"mixture.documents": 0.0, "clip": 0.5}}, "ada", "enough")

    asyncio.run(train(session, policy_of(folder, session.config), look, controls_of(session)))
    assert {(e.name, e.step, e.author) for e in session.journal.entries()} == {
        ("mixture.documents", 6, "ada"),
        ("clip", 6, "ada"),
    }
    for step in range(1, STEPS + 1):
        record = session.records.batch(MAIN, step)
        assert record is not None
        assert record["optimizer"]["clip"] == (1.0 if step < 6 else 0.5)
        assert ("documents" in record["rows"]) == (step < 6)


def test_a_request_about_a_step_whose_batch_is_drawn_waits_for_the_next(session: Session, folder: Path) -> None:
    """After a kill the steps that have a record are repeated as they were, and only then is anything taken up."""
    asyncio.run(train(session, policy_of(folder, session.config), steps=6))
    for path in session.run.checkpoints.glob("step-000006/*"):
        path.unlink()
    request = file_request(session.run, "adjust", {"changes": {"clip": 0.5}}, "ada", "")
    asyncio.run(train(session, policy_of(folder, session.config), controls=controls_of(session), steps=8))
    [entry] = session.journal.entries()
    assert entry.step == 7
    given = read_answer(session.run, request)
    assert given is not None
    assert given.outcome == "applied"


def test_metrics_are_kept_for_each_objective(session: Session, folder: Path) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=8))
    found = session.records.metrics_at(MAIN, 8)
    for name in prepared(policy_of(folder, session.config)):
        assert found[f"loss.{name}"] > 0
        assert found[f"units.{name}"] > 0
        assert found[f"seconds.{name}"] > 0
        assert found[f"gradient_norm.{name}"] > 0
    assert found["lr"] > 0


def test_rows_are_prepared_by_objective(session: Session, folder: Path) -> None:
    policy = policy_of(folder, session.config)
    found = prepared(policy)
    assert Counter({name: len(part.tokens) for name, part in found.items()}) == {"documents": 7, "demonstrations": 11}
    assert set(
        prepare_rows(policy.template, policy.config, "v1", [row for row in rows() if row.kind == "document"]).objectives
    ) == {"documents"}


def test_a_step_without_a_row_moves_nothing_and_is_told(folder: Path) -> None:
    """The first stage is of documents alone, and their weight is 0."""
    path = folder / "config.yaml"
    path.write_text(
        path.read_text().replace("batch_rows: 4", "batch_rows: 4, weight_decay: 0.5, mixture: {documents: 0}")
    )
    with session_in(folder) as session:
        policy = policy_of(folder, session.config)
        before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
        asyncio.run(train(session, policy, steps=2))
        assert session.records.batch(MAIN, 2)["rows"] == {}  # type: ignore[index]
        assert all(bool((tensor == before[name]).all()) for name, tensor in policy.model.state_dict().items())
        [warning] = session.stages.notices("warning")
        assert warning.startswith("a step trained on nothing")


def test_the_newest_checkpoints_stay_and_some_for_good(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("checkpoint_every: 4", "checkpoint_every: 2, keep_every: 6"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config)))
        assert list_checkpoints(session.run.checkpoints) == [6, 12, 14]


def test_checkpoints_of_another_database_are_refused(session: Session, folder: Path) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=4))
    session.run.checkpoints.rename(folder / "kept")
    with session_in(folder, session.config.model_copy(update={"name": "other"})) as other:
        (folder / "kept").rename(other.run.checkpoints)
        with pytest.raises(EthosError, match=r"not of this run\.db, without a step 4; remove the folder"):
            asyncio.run(train(other, policy_of(folder, other.config), steps=8))


def test_weight_without_a_row_is_an_error_that_names_the_knob(session: Session, folder: Path) -> None:
    config = session.config.training
    only_documents = {"documents": prepared(policy_of(folder, session.config))["documents"]}
    with pytest.raises(
        EthosError,
        match=r"^mixture\.demonstrations is 1, but there is no row for it \(judge: 12; hollow: 9\); set it to 0",
    ):
        require_rows(config, {"documents": 1.0, "demonstrations": 1.0}, only_documents, {"hollow": 9, "judge": 12})
    require_rows(config, {"documents": 1.0, "demonstrations": 0.0}, only_documents, {})


def test_once_rows_are_prepared_weight_where_there_are_none_is_refused_live_too(session: Session, folder: Path) -> None:
    """Accepted, it would train nothing, and keep the next sitting from starting."""
    policy, controls = policy_of(folder, session.config), controls_of(session)
    only_documents = {"documents": prepared(policy)["documents"]}
    file_request(session.run, "adjust", {"changes": {"mixture.demonstrations": 0}}, "ada", "there are none")
    controls.take_pending()
    Trainer(session, policy, only_documents, MAIN, STEPS, controls)
    request = file_request(session.run, "adjust", {"changes": {"mixture.demonstrations": 0.5}}, "ada", "more of it")
    controls.take_pending()
    given = read_answer(session.run, request)
    assert given is not None
    assert given.outcome == "refused"
    assert given.message.startswith("mixture.demonstrations can't be 0.5: the run has no row for it; leave it at 0")


def test_weight_that_was_given_before_it_was_known_what_the_run_can_train_is_an_error(folder: Path) -> None:
    every_objective(folder)
    path = folder / "config.yaml"
    text = path.read_text().replace("functions: {brief: 'runs.training_run:brief', right: right_answer},", "")
    path.write_text(text.replace("rewards: 1,", "rewards: 0,"))
    with session_in(folder) as session:
        policy, controls = policy_of(folder, session.config), controls_of(session)
        file_request(session.run, "adjust", {"changes": {"mixture.rewards": 1}}, "ada", "to try it")
        controls.take_pending()
        with pytest.raises(EthosError, match=r"^mixture\.rewards is 1: .*names no reward.*mixture\.rewards=0 --why"):
            asyncio.run(train(session, policy, controls=controls))


def test_an_objective_that_no_stage_trains_needs_no_rows(session: Session) -> None:
    stages = [{"name": "only", "share": 1, "demonstrations": 0}]
    config = TrainingConfig.model_validate({"stages": stages})
    assert without_rows(config, {}) >= {"documents"}
    assert "demonstrations" not in without_rows(config, {})


def every_objective(folder: Path) -> None:
    """The run in `folder` trains all of them."""
    write_config(folder, EVERY)


def test_all_objectives_share_a_run(folder: Path) -> None:
    every_objective(folder)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config)))
        found = losses(session)
        for name in ("documents", "demonstrations", "preferences", "reward_model", "rewards", "distillation"):
            assert any(norm > 0 for _, norm in found[f"gradient_norm.{name}"]), name
        assert found["accuracy.preferences"]
        assert found["kl.rewards"]
        assert found["reward.brief"]
        assert found["reward.right"]
        assert session.records.metric(MAIN, "seconds_drawing.rewards")
        assert session.records.metric(MAIN, "seconds_drawing.preferences")
        assert max(gap for _, gap in found["sampling_gap.rewards"]) < 1e-4  # the sampler's are the trainer's
        ledger = session.ledger.totals()
    assert ledger["policy"].calls > 0


def test_rloo_finds_no_divergence_until_the_policy_has_moved(folder: Path) -> None:
    every_objective(folder)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("draws: 3", "estimator: rloo, draws: 3"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=4))
        found = [
            [abs(rollout["divergence"]) for group in record["rollouts"]["rewards"] for rollout in group]
            for step in range(1, 5)
            if "rewards" in (record := session.records.batch(MAIN, step) or {}).get("rollouts", {})
        ]
    assert max(found[0]) == 0.0  # to the bit: both are computed by the same code
    assert min(found[-1]) > 0.0


def test_replies_drawn_by_another_policy_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every_objective(folder)
    made = Engine.sample_batch

    async def of_another(*args: Any) -> list[list[Sample]]:
        groups = await made(*args)
        return [[replace(s, logprobs=tuple(p - 0.5 for p in s.logprobs or ())) for s in group] for group in groups]

    monkeypatch.setattr(Engine, "sample_batch", of_another)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=4))
        [warning] = [text for text in session.stages.notices("warning") if "drawn with log-probabilities" in text]
    assert "rewards were drawn with log-probabilities that are 0.5 from the trainer's" in warning


def test_a_server_draws_with_the_adapter_of_each_step_also_after_a_stop(folder: Path) -> None:
    def student() -> Any:
        return load(folder / "tiny", "fp32").model

    with VllmProtocolServer(student) as server:
        method = f"training: {{method: lora, rollouts: {{server: '{server.address}'}}, "
        write_config(folder, EVERY.replace("training: {", method))
        for steps in (5, 8):
            with session_in(folder) as session:
                asyncio.run(train(session, policy_of(folder, session.config), steps=steps))
                found = losses(session)
                drawing = {
                    step
                    for name in ("rewards", "distillation")
                    for step, _ in session.records.metric(MAIN, f"seconds_drawing.{name}")
                }
    loads = [body["lora_path"] for path, body in server.requests if path == "/v1/load_lora_adapter"]
    assert len(loads) == len(drawing) == 8
    assert max(gap for _, gap in found["sampling_gap.rewards"]) < 1e-4
    assert max(norm for _, norm in found["gradient_norm.rewards"]) > 0


def test_a_repeated_step_draws_refers_and_asks_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every_objective(folder)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=7))
        before = losses(session)
    with session_in(folder) as session:
        for path in session.run.checkpoints.glob("step-*"):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        monkeypatch.setattr("ethos.models.engine.Engine.sample_batch", None)
        monkeypatch.setattr("ethos.training.frozen.FrozenModel.logprobs", None)
        monkeypatch.setattr("runs.training_run.brief", lambda *_: pytest.fail("asked again"))
        asyncio.run(train(session, policy_of(folder, session.config), steps=7))
        assert losses(session) == before


def test_the_reference_is_asked_about_a_pair_once_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every_objective(folder)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("rewards: 1, distillation: 0.5", "preferences: 2"))
    asked: list[str] = []
    whole = FrozenModel.logprobs

    def counted(frozen: FrozenModel, rows: Sequence[TokenRow], limit_tokens: int) -> list[list[list[float]]]:
        asked.extend(row.row_id for row in rows)
        return whole(frozen, rows, limit_tokens)

    monkeypatch.setattr(FrozenModel, "logprobs", counted)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config)))
        taken = [
            row_id
            for step in range(1, STEPS + 1)
            for row_id in (session.records.batch(MAIN, step) or {})["row_ids"].get("preferences", [])
        ]
    assert len(taken) > len(set(taken)) == 5  # several epochs
    assert sorted(asked) == sorted(set(taken))


def test_replies_that_were_cut_off_are_trained_on_or_not_as_the_config_says(folder: Path) -> None:
    trained = {}
    for truncated in ("keep", "mask"):
        every_objective(folder)
        path = folder / "config.yaml"
        short = f"draws: 3, max_tokens: 2, truncated: {truncated}"
        path.write_text(path.read_text().replace("draws: 3, max_tokens: 6", short))
        with session_in(folder) as session:
            asyncio.run(train(session, policy_of(folder, session.config), steps=6))
            found = [session.records.metrics_at(MAIN, step) for step in range(1, 7)]
            cut = sum(metrics.get("truncated.rewards", 0) for metrics in found)
            masked = sum(metrics.get("masked.rewards", 0) for metrics in found)
            rollouts = [
                rollout
                for step in range(1, 7)
                for group in (session.records.batch(MAIN, step) or {}).get("rollouts", {}).get("rewards", [])
                for rollout in group
            ]
            asked = [rollout for rollout in rollouts if rollout["reference"] is not None]
            trained[truncated] = sum(metrics.get("units.rewards", 0) for metrics in found)
        assert cut > 0
        assert (masked > 0) == (truncated == "mask")
        assert any(rollout["truncated"] for rollout in asked) == (truncated == "keep")
        shutil.rmtree(folder / "runs")
    assert trained["mask"] < trained["keep"]


def test_replies_that_a_reward_that_counts_has_not_scored_are_counted(folder: Path) -> None:
    every_objective(folder)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("right: right_answer", "odd: 'runs.training_run:odd'"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        drawn = [step for step in range(1, 7) if "rewards" in (session.records.batch(MAIN, step) or {})["rows"]]
        for step in drawn:
            rollouts = [r for group in (session.records.batch(MAIN, step) or {})["rollouts"]["rewards"] for r in group]
            unscored = sum(rollout["rewards"]["odd"] is None for rollout in rollouts)
            assert session.records.metrics_at(MAIN, step)["unscored.rewards"] == unscored > 0
            assert all(r["advantage"] is None for r in rollouts if r["rewards"]["odd"] is None)
    shutil.rmtree(folder / "runs")
    path.write_text(path.read_text().replace("rewards: {kl_coefficient: 0.1}", "rewards: {weights: {odd: 0}}"))
    with session_in(folder) as session:  # nothing is lost by one that doesn't count
        asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        assert {value for _, value in session.records.metric(MAIN, "unscored.rewards")} == {0.0}


def test_a_group_that_no_reward_tells_apart_is_skipped_and_counted(folder: Path) -> None:
    every_objective(folder)
    path = folder / "config.yaml"
    text = path.read_text().replace("runs.training_run:brief", "runs.training_run:same")
    path.write_text(text.replace("right: right_answer", "also: 'runs.training_run:same'"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        skipped = sum(value for _, value in session.records.metric(MAIN, "groups_skipped.rewards"))
        taken = sum(len((session.records.batch(MAIN, step) or {})["rows"].get("rewards", [])) for step in range(1, 7))
        assert skipped == taken > 0
        assert {
            rollout["reference"]
            for step in range(1, 7)
            for group in (session.records.batch(MAIN, step) or {}).get("rollouts", {}).get("rewards", [])
            for rollout in group
        } == {None}  # nobody is asked about what isn't trained on
        assert session.records.metric(MAIN, "loss.rewards") == []
        [warning] = [text for text in session.stages.notices("warning") if "rewards" in text]
        assert "rewards trained on nothing: of the replies to its" in warning


@pytest.mark.parametrize("config", [CONFIG, EVERY, ADAPTED], ids=["two objectives", "all", "adapters, rloo"])
def test_a_branch_from_a_checkpoint_is_an_uninterrupted_run_with_the_same_knobs(folder: Path, config: str) -> None:
    write_config(folder, config)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=12))
        with pytest.raises(EthosError, match="no checkpoint of step 3; there are: 8, 12"):
            fork(session, "other", MAIN, 3)
        fork(session, "other", MAIN, 8)
        asyncio.run(train(session, policy_of(folder, session.config), steps=12, branch="other"))
        whole, branch = losses(session), losses(session, "other")
        assert {name for name, found in whole.items() if any(step > 8 for step, _ in found)} == set(branch)
        for name, found in branch.items():
            assert found == [(step, value) for step, value in whole[name] if step > 8], name


def test_what_a_look_samples_leaves_nothing_for_the_next_draw(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch draws without it, and products of another shape are rounded otherwise."""
    every_objective(folder)
    engines: list[Engine] = []
    kept: list[bool] = []
    asked = Conversation.user("How much is 3 + 3? " * 3)
    made, drawn = runs.training_run.helpers_of, ethos.runs.step_records.draw

    def with_engine(*args: Any) -> Helpers:
        helpers = made(*args)
        assert isinstance(helpers.sampler, Engine)
        engines.append(helpers.sampler)
        return helpers

    def is_kept() -> bool:
        assert engines[-1]._decoding is not None
        prompt = engines[-1].template.prompt(asked)
        return engines[-1]._decoding._prefixes.longest(np.asarray(prompt))[1] == len(prompt)

    async def look(step: int) -> None:
        await engines[-1].sample_batch([asked], SamplingParams(4))
        assert is_kept()

    async def draw(*args: Any) -> Any:
        kept.append(is_kept())
        return await drawn(*args)

    monkeypatch.setattr(runs.training_run, "helpers_of", with_engine)
    monkeypatch.setattr(ethos.runs.step_records, "draw", draw)
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), look, steps=6))
    assert len(kept) > 3
    assert not any(kept)


def test_a_name_that_is_taken_is_refused_before_anything_is_written(session: Session, folder: Path) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=12))
    fork(session, "other", MAIN, 8)
    with pytest.raises(EthosError, match="branch other exists already"):
        fork(session, "other", MAIN, 12)
    assert list_checkpoints(session.run.checkpoints / "other") == [8]


def test_a_fork_that_was_killed_can_be_repeated(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=8))
    with monkeypatch.context() as patch:
        patch.setattr("ethos.store.journal.Journal.fork", None)
        with pytest.raises(TypeError):
            fork(session, "other", MAIN, 8)
    fork(session, "other", MAIN, 8)
    asyncio.run(train(session, policy_of(folder, session.config), steps=9, branch="other"))
    assert session.records.is_trained("other", 9)


def test_a_damaged_checkpoint_is_not_forked(session: Session, folder: Path) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=8))
    (session.run.checkpoints / "step-000008" / "state.safetensors").write_bytes(b"x")
    with pytest.raises(EthosError, match="its hash differs"):
        fork(session, "other", MAIN, 8)
    assert session.journal.branches() == [MAIN]


def test_under_a_memory_budget_a_run_goes_on_as_it_was_planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are computed twice and micro-batches cut; the second sitting measures nothing."""
    policy = policy_of(folder, write_config(folder, EVERY))
    sizes = [size for found in prepared(policy).values() for size in found.sizes]
    needs = [
        max(size.cost(again / each) * each for size in sizes) for each, again in (costs(policy, 128, n) for n in (0, 1))
    ]
    budget = (sum(needs) / 2 + _head_bytes(policy, _DISTILLED_ENTRY_BYTES)) / 2**30
    write_config(folder, EVERY.replace("training: {", f"training: {{memory_gib: {budget}, "))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=8))
        plan = session.stages.payload("micro-batch plan")
        record = session.records.batch(MAIN, 8)
    assert isinstance(plan, dict)
    assert plan["recomputed"] > 0
    assert record is not None
    assert (record["micro_batch_tokens"], record["repeat_cost"]) == (plan["micro_batch_tokens"], plan["repeat_cost"])
    monkeypatch.setattr("ethos.training.memory.costs", None)
    with session_in(folder) as session:
        policy = policy_of(folder, session.config)
        asyncio.run(train(session, policy))
        assert policy.recomputed == plan["recomputed"]
        whole = losses(session)
        fork(session, "other", MAIN, 12)
        asyncio.run(train(session, policy_of(folder, session.config), branch="other"))
        for name, found in losses(session, "other").items():
            assert found == [(step, value) for step, value in whole[name] if step > 12], name


def test_objectives_with_weight_0_draw_refer_and_ask_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EVERY.replace("preferences: 0.5,", "preferences: 0,").replace("rewards: 1,", "rewards: 0,")
    write_config(folder, text.replace("distillation: 0.5}", "distillation: 0}"))
    monkeypatch.setattr("ethos.models.engine.Engine.sample_batch", None)
    monkeypatch.setattr("ethos.training.frozen.FrozenModel.logprobs", None)
    monkeypatch.setattr("ethos.training.frozen.FrozenModel.teach", None)
    monkeypatch.setattr("runs.training_run.brief", lambda *_: pytest.fail("asked"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        assert session.records.metric(MAIN, "loss.reward_model")
        for name in ("preferences", "rewards", "distillation"):
            assert session.records.metric(MAIN, f"units.{name}") == []


def test_a_policy_that_gives_no_probabilities_any_more_stops_the_run_with_its_state_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_objective(folder)
    made = Engine.sample_batch

    async def broken(*args: Any) -> list[list[Sample]]:
        groups = await made(*args)
        return [[replace(s, logprobs=(float("nan"),) * len(s.logprobs or ())) for s in group] for group in groups]

    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        monkeypatch.setattr(Engine, "sample_batch", broken)
        with pytest.raises(Diverged, match="a reply was drawn with log-probabilities that are not finite"):
            asyncio.run(train(session, policy_of(folder, session.config)))
        stopped = max(step for step, _ in session.records.metric(MAIN, "gradient_norm"))
        assert list_checkpoints(session.run.checkpoints)[-1] == stopped


def test_a_spike_stops_the_run_before_the_step_is_taken_and_is_let_through_by_a_knob(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("batch_rows: 4", "batch_rows: 4, clip: 0.001, spike_factor: 0.5"))
    with session_in(folder) as session:
        policy = policy_of(folder, session.config)
        with pytest.raises(Diverged, match=r"step 10: .* over 0\.5 times the median of the last 5"):
            asyncio.run(train(session, policy))
        assert [step for step, _ in session.records.metric(MAIN, "gradient_norm")] == list(range(1, 10))
        again = policy_of(folder, session.config)
        with pytest.raises(Diverged):
            asyncio.run(train(session, again))
        assert all(
            torch.equal(policy.optimizer.masters[n], again.optimizer.masters[n]) for n in again.optimizer.masters
        )
        assert (session.run.checkpoints / "step-000009").is_dir()  # the state before the step
        request = file_request(session.run, "adjust", {"changes": {"spike_factor": 0.0}}, "ada", "its rows are fine")
        controls_of(session).take_pending()
        assert read_answer(session.run, request)
        asyncio.run(train(session, policy_of(folder, session.config)))
        assert len(session.records.metric(MAIN, "gradient_norm")) == STEPS


def test_a_loss_that_is_not_finite_stops_the_run_with_the_state_before_the_step_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_in(folder) as session:
        policy = policy_of(folder, session.config)
        asyncio.run(train(session, policy, steps=2))
        whole = Policy.outputs
        monkeypatch.setattr(
            Policy, "outputs", lambda self, batch: Outputs(whole(self, batch).logprobs_M * float("nan"))
        )
        with pytest.raises(Diverged, match=r"the loss of documents is nan on rows .*start a run of another name"):
            asyncio.run(train(session, policy_of(folder, session.config), steps=6))
        assert (session.run.checkpoints / "step-000002").is_dir()
        assert [step for step, _ in session.records.metric(MAIN, "gradient_norm")] == [1, 2]


def test_a_gradient_that_is_not_finite_stops_the_run_with_the_state_before_the_step_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=2))
        whole = MasterOptimizer.gather

        def broken(optimizer: MasterOptimizer) -> float:
            found = whole(optimizer)
            for gradient in optimizer.gradients.values():
                gradient.fill_(float("inf"))
            optimizer._known_norm = None
            return found

        monkeypatch.setattr(MasterOptimizer, "gather", broken)
        policy = policy_of(folder, session.config)
        with pytest.raises(Diverged, match=r"the gradient's norm is (inf|nan); .*start a run of another name"):
            asyncio.run(train(session, policy, steps=6))
        assert (session.run.checkpoints / "step-000002").is_dir()
        assert [step for step, _ in session.records.metric(MAIN, "gradient_norm")] == [1, 2]
        assert all(torch.isfinite(master).all() for master in policy.optimizer.masters.values())


def test_what_is_changed_while_a_step_draws_is_in_force_from_the_next(folder: Path) -> None:
    """Also where the draw is cut off by a kill: the step is drawn again with the knobs that it was begun with."""
    every_objective(folder)

    class CutOffError(Exception):
        pass

    def asks(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
        if first.acquire(blocking=False):  # groups are scored in threads of their own
            file_request(session.run, "adjust", {"changes": {"lr": 0.001}}, "ada", "in the middle of it")
            controls.take_pending()
            raise CutOffError
        return [float(len(reply.token_ids or ())) for reply in replies]

    first = threading.Lock()
    with session_in(folder) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr("runs.training_run.brief", asks)
        controls = controls_of(session)
        step = next(
            n
            for n in range(1, STEPS + 1)
            if share_slots(plan_step(session.config.training, session.config.knobs, n - 1).weights, 8, 0, n)["rewards"]
        )
        with pytest.raises(EthosError, match="CutOffError"):
            asyncio.run(train(session, policy_of(folder, session.config), controls=controls, steps=step + 1))
        [entry] = session.journal.entries()
        assert entry.step == step + 1
        asyncio.run(train(session, policy_of(folder, session.config), controls=controls, steps=step + 1))
        before, after = (session.records.batch(MAIN, n) for n in (step, step + 1))
    assert before is not None
    assert after is not None
    assert before["lr"] > 2 * after["lr"]


def test_a_spike_at_the_last_step_can_be_let_through(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(f"steps: {STEPS}", "steps: 8"))
    with session_in(folder) as session:
        asyncio.run(train(session, policy_of(folder, session.config), steps=7))
        spiking = {"spike_factor": 0.5, "clip": 0.001}
        file_request(session.run, "adjust", {"changes": spiking}, "ada", "to see it")
        controls = controls_of(session)
        controls.take_pending()
        with pytest.raises(Diverged, match="step 8"):
            asyncio.run(train(session, policy_of(folder, session.config), controls=controls, steps=8))
        request = file_request(session.run, "adjust", {"changes": {"spike_factor": 0.0}}, "ada", "let it through")
        Controls(session.run, session.journal, session.records, session.stages, MAIN, 8, asyncio.Event()).take_pending()
        answer = read_answer(session.run, request)
        assert answer is not None
        assert answer.outcome == "applied"
        asyncio.run(train(session, policy_of(folder, session.config), steps=8))
        assert session.records.is_trained(MAIN, 8)


def test_a_branch_without_the_checkpoint_it_was_forked_from_is_refused(session: Session, folder: Path) -> None:
    asyncio.run(train(session, policy_of(folder, session.config), steps=8))
    fork(session, "other", MAIN, 8)
    for file in (session.run.checkpoints / "other" / "step-000008").iterdir():
        file.unlink()
    with pytest.raises(EthosError, match="has no checkpoint of step 8, at which other was forked"):
        asyncio.run(train(session, policy_of(folder, session.config), steps=9, branch="other"))


@pytest.mark.parametrize(
    ("objective", "why"),
    [("preferences", "the run has no row for it"), ("rewards", "names no reward"), ("reward_model", "a scalar head")],
)
def test_an_objective_that_a_run_can_not_train_is_refused_with_the_reason(
    session: Session, folder: Path, objective: str, why: str
) -> None:
    policy = policy_of(folder, session.config)
    found = untrainable(session.config.training, {"reward_model": prepared(policy)["documents"]}, policy, None)
    if objective == "rewards":
        found = untrainable(session.config.training, {"rewards": prepared(policy)["documents"]}, policy, None)
    controls = controls_of(session)
    controls.untrainable = found
    request = file_request(session.run, "adjust", {"changes": {f"mixture.{objective}": 1.0}}, "ada", "to try it")
    controls.take_pending()
    answer = read_answer(session.run, request)
    assert answer is not None
    assert answer.outcome == "refused"
    assert why in answer.message
