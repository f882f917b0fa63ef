"""From rows to a trained student: what the loop needs is brought together here, and what comes out of it is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ethos.models.engine import Engine
from ethos.models.vllm_server import VllmServer
from ethos.runs.controls import Controls, next_step
from ethos.runs.models import ModelShelf
from ethos.runs.prepared import PreparedRows, prepare_rows, require_rows
from ethos.runs.session import Session
from ethos.runs.step_records import Helpers
from ethos.runs.students import FrozenStudent, frozen_model
from ethos.runs.training import Trainer
from ethos.runs.vllm_rollouts import VllmRollouts
from ethos.store.journal import MAIN
from ethos.store.rows import PreferenceRow, Row
from ethos.training.frozen import FrozenModel
from ethos.training.policy import Policy
from ethos.training.reward_functions import RewardFunction


@dataclass(frozen=True, slots=True)
class StudentRows:
    """What is trained on."""

    rows: tuple[Row, ...]
    version: str  # of the files that hold them


async def train_student(
    session: Session,
    shelf: ModelShelf,
    base: FrozenStudent,
    given: StudentRows,
    look: Callable[[Engine, int], Awaitable[None]],
    controls: Controls,
    rewards: Mapping[str, RewardFunction],
) -> Policy:
    """Trains to the end, and writes the student. `look` tastes it through its engine at a step.

    Raises EthosError for what the user can mend, such as an objective with weight and without rows.
    """
    config = session.config
    steps = config.training.steps
    has_head = base.frozen.forward is not None and any(isinstance(row, PreferenceRow) for row in given.rows)
    policy = await shelf.policy(config.training, config.system_message, config.seed, scalar_head=has_head)
    engine, server = shelf.policy_engine(policy), _rollout_server(session, shelf, policy)
    found = prepare_rows(policy.template, config.training, given.version, given.rows)
    weights = session.journal.knobs(MAIN, next_step(session.records, steps)).mixture.model_dump()
    if left_out := found.left_out_of(weights):
        session.stages.set_counts("training", left_out)
        for reason, count in left_out.items():
            session.warn(f"{count} rows are left out of {reason}")
    require_rows(config.training, weights, found.objectives, session.stages.counts())
    helpers = Helpers(
        sampler=server or engine,
        policy=FrozenModel(policy.model, policy.forward),
        reference=base.frozen,
        teacher=frozen_model(await shelf.distillation_teacher(base)),
        rewards=rewards,
    )
    trainer = Trainer(session, policy, found.objectives, MAIN, steps, controls, helpers)

    def changed(weights: str) -> None:
        engine.weights_changed(weights)
        if server is not None:
            server.weights_changed(weights)

    try:
        await trainer.train(shelf.worker.run, lambda step: look(engine, step), changed)
    finally:
        if server is not None:
            await server.close()
    _count_what_was_left_out(session, found)
    await _export(session, shelf, policy)
    return policy


def _rollout_server(session: Session, shelf: ModelShelf, policy: Policy) -> VllmRollouts | None:
    """Who draws in the engine's place, if anybody."""
    address = session.config.training.rollouts.server
    if address is None:
        return None
    return VllmRollouts(VllmServer(address), policy, shelf.worker, session.run.rollout_adapter)


def _count_what_was_left_out(session: Session, found: PreparedRows) -> None:
    """Rows of every objective that had a weight at some step, and replies that taught nothing, by reason."""
    records = session.records
    trained = {name: 1.0 for name in found.left_out if records.metric(MAIN, f"units.{name}")}
    session.stages.set_counts("training", found.left_out_of(trained))
    reasons = {
        "groups_skipped": "groups that no reward told apart",
        "unscored": "replies without a score",
        "masked": "replies that were cut off",
    }
    sums = {
        f"rewards: {why}": round(sum(value for _, value in records.metric(MAIN, f"{name}.rewards")))
        for name, why in reasons.items()
    }
    session.stages.set_counts("rollouts", {reason: count for reason, count in sums.items() if count})


async def _export(session: Session, shelf: ModelShelf, policy: Policy) -> None:
    has_trained_head = bool(session.records.metric(MAIN, "loss.reward_model"))
    with session.ui.stage("exporting the student", 1 + has_trained_head, "models") as bar:
        await shelf.worker.run(policy.export, session.run.student)
        bar.advance()
        if has_trained_head:
            await shelf.worker.run(policy.export_reward_model, session.run.reward_model)
            bar.advance()
    await shelf.worker.run(policy.end_training)
