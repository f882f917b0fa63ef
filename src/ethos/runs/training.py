"""The loop: a step at a time, each from its own record, so that it can be killed anywhere and go on as if it had not.

The order within a step is what makes it exact: requests are entered in the journal, the batch record is committed,
then the step trains, then its metrics are written. A step that has a record already repeats it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.runs.checkpoints import Retention, copy_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from ethos.runs.controls import Controls
from ethos.runs.prepared import Prepared
from ethos.runs.reading import LOOK_SECONDS
from ethos.runs.session import Session
from ethos.runs.step_records import Helpers, RunJob, StepRecords, rollout_metrics, untrainable
from ethos.store.canonical import canonical_json
from ethos.store.journal import MAIN
from ethos.store.records import WATCHED
from ethos.training.accumulation import StepMetrics
from ethos.training.batch import RowSize, pack
from ethos.training.guard import Diverged, Recent
from ethos.training.memory import MemoryPlan, plan_memory
from ethos.training.mixture import Cursor
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.in_force import objective_with
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy

Look = Callable[[int], Awaitable[None]]
Changed = Callable[[str], None]
"""Is told what weights are called now, and forgets what was computed before."""
_PLAN = "micro-batch plan"


_LARGEST_GAP = 0.3  # nats a token in the mean; bf16 alone comes to less than 0.1


class Trainer:
    """Trains one policy on one branch of a run."""

    def __init__(
        self,
        session: Session,
        policy: Policy,
        prepared: Mapping[str, Prepared],
        branch: str,
        steps: int,
        controls: Controls | None = None,
        helpers: Helpers | None = None,
        *,
        is_guarded: bool = True,
    ) -> None:
        """`controls` None: nobody can change this training while it runs. `helpers`: see `StepRecords`.

        `is_guarded` False: no spike stops it, only what isn't finite. Raises EthosError for a weight in force that this
        run can't train.
        """
        self._session, self._policy, self._prepared = session, policy, prepared
        self._branch, self._steps, self._controls = branch, steps, controls
        self._config = session.config.training
        if controls is not None:
            controls.untrainable = untrainable(self._config, prepared, policy, helpers)
            controls.require_trainable_now()
        self._folder = checkpoint_folder(session, branch)
        self._records = StepRecords(session, prepared, branch, helpers)
        self._helpers = helpers
        self._is_guarded, self._recent = is_guarded, Recent()
        self._told: set[str] = set()

    def resume(self) -> int:
        """On the compute thread: loads the newest checkpoint. Returns the step it stands at; 0 if there is none.

        Raises:
            EthosError: if its checkpoints are of another run, or a branch lacks the one it was forked from.
        """
        steps = list_checkpoints(self._folder)
        if not steps:
            if forked := self._session.journal.forked_at(self._branch):
                raise EthosError(
                    f"{self._folder}: has no checkpoint of step {forked}, at which {self._branch} was forked; "
                    "restore the folder, or fork another branch"
                )
            return 0
        origin = self._session.journal.origin(self._branch, steps[-1])
        if self._session.records.batch(origin, steps[-1]) is None:
            raise EthosError(
                f"{self._folder}: its checkpoints are not of this run.db, without a step {steps[-1]}; remove the folder"
            )
        state = load_checkpoint(self._policy, self._folder, steps[-1])
        self._records.cursors = {name: Cursor(**cursor) for name, cursor in state["cursors"].items()}
        self._recent = Recent.of(state["recent"])
        return steps[-1]

    async def train(self, run_job: RunJob, look: Look, changed: Changed) -> None:
        """Trains to the end. `run_job` runs on the compute thread; `look` tastes; `changed` is told of new weights.

        Raises Diverged, with the state before it saved, for a step that would do harm.
        """
        ui, config = self._session.ui, self._config
        plan = await run_job(self._plan)
        self._policy.recomputed, self._records.plan = plan.recomputed, plan
        start = await run_job(self.resume)
        if start:
            origin = self._session.journal.origin(self._branch, start)
            recorded = self._session.records.batch(origin, start)
            assert recorded is not None  # `resume` has seen to that
            for name in recorded["rows"]:
                self._records.rows(start, recorded, name)  # also where nothing is left to train: a report needs them
        if start < self._steps:
            self._note_build(await run_job(self._policy.build))
        await run_job(changed, f"{self._branch}/{start}")
        if self._look_is_missing(start):
            await self._look(look, start, run_job, changed)
        title = "training" if self._branch == MAIN else f"training ({self._branch})"
        with ui.stage(title, total=self._steps, unit="steps", done=start) as bar:
            for step in range(start + 1, self._steps + 1):
                if self._controls is not None and not self._session.records.is_begun(self._branch, step):
                    await self._controls.boundary(step)
                before = dict(self._records.cursors)
                try:
                    record = await self._records.committed(step, run_job)
                    metrics = await run_job(self._step, step, record)
                    metrics |= {f"seconds_drawing.{name}": taken for name, taken in self._records.seconds.items()}
                except Diverged:
                    self._records.cursors = before
                    await run_job(self._save, step - 1)
                    raise
                self._session.records.add_metrics(self._branch, step, metrics)
                self._tell_of_nothing(step, record, metrics)
                await run_job(changed, f"{self._branch}/{step}")
                bar.note(", ".join(f"{n} {value:.2f}" for n, value in metrics.items() if n.startswith(WATCHED)))
                bar.advance(1)
                if step % config.checkpoint_every == 0 or step == self._steps:
                    await run_job(self._save, step)
                if self._look_is_due(step):
                    await self._look(look, step, run_job, changed)

    def _plan(self) -> MemoryPlan:
        """On the compute thread: how the run cuts training to its memory.

        Decided once a run, since micro-batches decide how sums are rounded.
        """
        kept: Any = self._session.stages.payload(_PLAN)
        if kept is not None:
            return MemoryPlan(**kept)
        sizes = frozenset[RowSize]().union(*(found.sizes for found in self._prepared.values()))
        plan = plan_memory(self._policy, self._config, sizes, self._prepared)
        self._session.stages.begin(_PLAN, "")
        self._session.stages.finish(_PLAN, asdict(plan))
        return plan

    def _tell_of_nothing(self, step: int, record: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Warns, once for each, of a step without rows and of an objective whose rows taught nothing."""
        said = {
            name: f"step {step}: {name} trained on nothing: of the replies to its {len(rows)} prompts none was kept, "
            "scored and told from the others by a reward; see groups_skipped, unscored and masked among the metrics"
            for name, rows in record["rows"].items()
            if metrics.get(f"units.{name}") == 0
        }
        for name, gap in ((name, metrics.get(f"sampling_gap.{name}", 0.0)) for name in record["rows"]):
            if gap > _LARGEST_GAP:
                said[f"gap of {name}"] = (
                    f"step {step}: the replies of {name} were drawn with log-probabilities that are {gap:.2g} from the "
                    "trainer's in the mean; see that training.rollouts.server serves the student's own weights"
                )
        if not record["rows"]:
            said[""] = "a step trained on nothing: no objective with a weight there has rows"
        for name, text in said.items():
            if name not in self._told:
                self._told.add(name)
                self._session.warn(text if self._branch == MAIN else f"{self._branch}: {text}")

    def _save(self, step: int) -> None:
        """On the compute thread: the checkpoint of a step, if there is something to keep and it isn't kept yet."""
        if step == 0 or step in list_checkpoints(self._folder):
            return
        state = {
            "cursors": {name: asdict(cursor) for name, cursor in self._records.cursors.items()},
            "recent": asdict(self._recent),
        }
        retention = Retention(self._config.keep_checkpoints, self._config.keep_every)
        save_checkpoint(self._policy, self._folder, step, state, retention)

    def _note_build(self, build: dict[str, str]) -> None:
        """Warns where a run goes on under another build: its losses are the same under the same one only."""
        if changed := self._session.changed_since_last_sitting(f"build ({self._branch})", build):
            self._session.warn(f"{self._branch} goes on with {', '.join(changed)}: its losses may differ a little")

    def _look_is_due(self, step: int) -> bool:
        knobs = self._session.journal.knobs(self._branch, step)
        return step % knobs.taste_every == 0 or step == self._steps

    def _look_is_missing(self, step: int) -> bool:
        """Whether a kill came between the checkpoint of a step and the end of its look."""
        taken = LOOK_SECONDS in self._session.records.metrics_at(self._branch, step)
        return step > 0 and self._look_is_due(step) and not taken

    async def _look(self, look: Look, step: int, run_job: RunJob, changed: Changed) -> None:
        started = time.perf_counter()
        await look(step)
        # what a sampler has kept of the look would be multiplied otherwise than what a run that goes on here computes
        await run_job(changed, f"{self._branch}/{step}")
        self._session.records.add_metrics(self._branch, step, {LOOK_SECONDS: time.perf_counter() - started})

    def _step(self, step: int, record: Mapping[str, Any]) -> dict[str, float]:
        """On the compute thread: one whole optimizer step. Raises Diverged instead of taking one that would do harm."""
        started = time.perf_counter()
        metrics: dict[str, float] = {"lr": record["lr"], **rollout_metrics(record, self._config.rewards.truncated)}
        for name in [name for name in OBJECTIVES if name in record["rows"]]:  # one order: gradients add up bit for bit
            before = time.perf_counter()
            rows, limit = self._records.rows(step, record, name), record["micro_batch_tokens"]
            batches = pack(rows, limit, record["repeat_cost"])
            objective = objective_with(name, record["settings"][name])
            if "teacher" in objective.needs and self._helpers is not None:
                batches = [self._helpers.teacher.teach(batch, limit) for batch in batches]
            result = self._policy.forward_backward(batches, objective, record["weights"][name])
            metrics |= _metrics_of(name, result, time.perf_counter() - before)
        norm = self._policy.optimizer.gradient_norm()
        if norm == 0.0:  # no weight, or none where there are rows: no moment decays over nothing
            self._policy.optimizer.clear()
            return metrics | {"gradient_norm": 0.0, "seconds": time.perf_counter() - started}
        settings, mixture = record["optimizer"], canonical_json([record["stage"], record["weights"]])
        self._require_usual(step, mixture, norm, settings["clip"])
        metrics["gradient_norm"] = self._policy.optim_step(
            OptimParams(lr=record["lr"], weight_decay=settings["weight_decay"], clip=settings["clip"])
        )
        self._recent = self._recent.then(mixture, norm)
        metrics["seconds"] = time.perf_counter() - started
        return metrics

    def _require_usual(self, step: int, mixture: str, norm: float, clip: float) -> None:
        """Raises Diverged at a spike, by the rule that is in force now."""
        if not self._is_guarded:
            return
        # what somebody has changed since the step's record was made counts: that is how such a step is let through
        factor = self._session.journal.knobs(self._branch, step + 1).spike_factor
        try:
            self._recent.require_usual(step, mixture, norm, factor, clip)
        except Diverged:
            self._policy.optimizer.clear()
            raise


def checkpoint_folder(session: Session, branch: str) -> Path:
    """Where the checkpoints of a branch lie."""
    return session.run.checkpoints if branch == MAIN else session.run.checkpoints / branch


def fork(session: Session, branch: str, parent: str, step: int) -> None:
    """Starts a branch from a checkpoint of another: same past, and from there on knobs and records of its own.

    Raises:
        EthosError: if the parent has no checkpoint of that step, or a damaged one, or the branch exists.
    """
    folder = checkpoint_folder(session, parent)
    kept = list_checkpoints(folder)
    if step not in kept:
        known = ", ".join(map(str, kept)) or "none"
        raise EthosError(f"{folder}: there is no checkpoint of step {step}; there are: {known}")
    session.journal.require_new(branch)
    copy_checkpoint(folder, checkpoint_folder(session, branch), step)  # first: a branch without one can't go on
    session.journal.fork(branch, parent, step)


def _metrics_of(name: str, result: StepMetrics, seconds: float) -> dict[str, float]:
    """An objective that trained on nothing has no loss."""
    found = {f"units.{name}": float(result.units), f"seconds.{name}": seconds}
    if result.units == 0:
        return found
    return {
        f"loss.{name}": result.loss,
        **found,
        f"tokens.{name}": result.tokens,
        f"targets.{name}": result.targets,
        f"gradient_norm.{name}": result.gradient_norm,
        **{f"{metric}.{name}": value for metric, value in result.metrics.items()},
    }
