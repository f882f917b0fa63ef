"""The loop: a step at a time, each from its own record, so that it can be killed anywhere and go on as if it had not.

The order within a step is what makes it exact: requests are entered in the journal, the batch record is committed,
then the step trains, then its metrics are written. A step that has a record already repeats it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ethos.errors import EthosError
from ethos.runs.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from ethos.runs.controls import Controls
from ethos.runs.reading import LOOK_SECONDS
from ethos.runs.session import Session
from ethos.store.config.knobs import OBJECTIVES as KNOWN
from ethos.store.config.training import TrainingConfig
from ethos.store.journal import MAIN
from ethos.store.rows import Row
from ethos.training.batch import TokenRow, pack
from ethos.training.mixture import Cursor, RowSet, share_slots, take_rows
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy, StepMetrics
from ethos.training.schedule import plan_step

Look = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of one objective, as tokens, under the version of the file that holds them."""

    rows: RowSet
    tokens: tuple[TokenRow, ...]


def prepare_rows(policy: Policy, version: str, rows: Sequence[Row]) -> dict[str, Prepared]:
    """Rows by objective, as tokens. Objectives without a row are left out."""
    prepared = {}
    for name, objective in OBJECTIVES.items():
        tokens = tuple(objective.prepare(rows, policy.template, policy.config.context_tokens).rows)
        if tokens:
            prepared[name] = Prepared(RowSet(name, version, len(tokens)), tokens)
    return prepared


def rows_left_out(rows: Sequence[Row], prepared: Mapping[str, Prepared]) -> int:
    """How many rows no objective could use: conversations longer than the context."""
    used = {row.row_id for found in prepared.values() for row in found.tokens}
    return sum(row.id not in used for row in rows)


def without_rows(config: TrainingConfig, prepared: Mapping[str, Prepared]) -> frozenset[str]:
    """The objectives that some stage would train, and that there is no row for."""
    trained = {name for name in KNOWN for stage in config.stages if getattr(stage, name) > 0}
    return frozenset(trained - prepared.keys())


def require_rows(
    config: TrainingConfig,
    weights: Mapping[str, float],
    prepared: Mapping[str, Prepared],
    rejected: Mapping[str, int],
) -> None:
    """Raises EthosError, with the commonest rejections, if an objective has weight in some stage and no row."""
    missing = without_rows(config, prepared)
    for name, weight in weights.items():
        if weight > 0 and name in missing:
            commonest = sorted(rejected.items(), key=lambda found: -found[1])[:3]
            why = "; ".join(f"{reason}: {count}" for reason, count in commonest) or "nothing was rejected"
            raise EthosError(
                f"mixture.{name} is {weight:g}, but there is no row for it ({why}); set it to 0 with `ethos adjust`, "
                "or start a run of another name with other models or an easier spec"
            )


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
    ) -> None:
        """`controls` None: nobody can change this training while it runs."""
        self._session, self._policy, self._prepared = session, policy, prepared
        self._branch, self._steps, self._controls = branch, steps, controls
        self._config = session.config.training
        if controls is not None:
            controls.without_rows = without_rows(self._config, prepared)
        self._folder = session.run.checkpoints if branch == MAIN else session.run.checkpoints / branch
        self._cursors: dict[str, Cursor] = {}

    def resume(self) -> int:
        """On the compute thread: loads the newest checkpoint. Returns the step it stands at; 0 if there is none."""
        steps = list_checkpoints(self._folder)
        if not steps:
            return 0
        if self._session.records.batch(self._branch, steps[-1]) is None:
            raise EthosError(
                f"{self._folder}: its checkpoints are not of this run.db, without a step {steps[-1]}; remove the folder"
            )
        state = load_checkpoint(self._policy, self._folder, steps[-1])
        self._cursors = {name: Cursor(**cursor) for name, cursor in state["cursors"].items()}
        return steps[-1]

    async def train(self, run_job: Callable[..., Awaitable[Any]], look: Look, changed: Callable[[str], None]) -> None:
        """Trains to the end. `run_job` runs on the compute thread; `look` tastes; `changed` is told of new weights."""
        ui, config = self._session.ui, self._config
        start = await run_job(self.resume)
        if start:
            recorded = self._session.records.batch(self._branch, start)
            assert recorded is not None  # `resume` has seen to that
            for name in recorded["rows"]:
                self._rows_of(start, recorded, name)  # also where nothing is left to train: a report speaks of them
        if start < self._steps:
            self._note_build(await run_job(self._policy.build))
        await run_job(changed, f"{self._branch}/{start}")
        if self._look_is_missing(start):
            await self._look(look, start)
        warned = False
        title = "training" if self._branch == MAIN else f"training ({self._branch})"
        with ui.stage(title, total=self._steps, unit="steps", done=start) as bar:
            for step in range(start + 1, self._steps + 1):
                if self._controls is not None and self._session.records.batch(self._branch, step) is None:
                    await self._controls.boundary(step)
                record = self._record(step)
                if not record["rows"] and not warned:
                    self._session.warn("a step trained on nothing: no objective with a weight there has rows")
                    warned = True
                metrics = await run_job(self._step, step, record)
                self._session.records.add_metrics(self._branch, step, metrics)
                await run_job(changed, f"{self._branch}/{step}")
                bar.note(", ".join(f"{n} {value:.2f}" for n, value in metrics.items() if n.startswith("loss.")))
                bar.advance(1)
                if step % config.checkpoint_every == 0 or step == self._steps:
                    state = {"cursors": {name: asdict(cursor) for name, cursor in self._cursors.items()}}
                    await run_job(save_checkpoint, self._policy, self._folder, step, state, config.keep_checkpoints)
                if self._look_is_due(step):
                    await self._look(look, step)

    def _note_build(self, build: dict[str, str]) -> None:
        """Warns where a run goes on under another build: its losses are the same under the same one only."""
        name = f"build ({self._branch})"
        before: Any = self._session.stages.payload(name)
        if before is None:
            self._session.stages.begin(name, "")
            self._session.stages.finish(name, dict(build))
            return
        changed = [f"{part} {before.get(part)} → {now}" for part, now in build.items() if before.get(part) != now]
        if changed:
            self._session.warn(f"{self._branch} goes on with {', '.join(changed)}: its losses may differ a little")

    def _look_is_due(self, step: int) -> bool:
        knobs = self._session.journal.knobs(self._branch, step)
        return step % knobs.taste_every == 0 or step == self._steps

    def _look_is_missing(self, step: int) -> bool:
        """Whether a kill came between the checkpoint of a step and the end of its look."""
        taken = LOOK_SECONDS in self._session.records.metrics_at(self._branch, step)
        return step > 0 and self._look_is_due(step) and not taken

    async def _look(self, look: Look, step: int) -> None:
        started = time.perf_counter()
        await look(step)
        self._session.records.add_metrics(self._branch, step, {LOOK_SECONDS: time.perf_counter() - started})

    def _record(self, step: int) -> dict[str, Any]:
        """The step's batch record: the one that is committed, or a new one, committed before this returns."""
        recorded = self._session.records.batch(self._branch, step)
        if recorded is not None:
            self._cursors.update({name: Cursor(**c) for name, c in recorded["cursors"].items()})
            return recorded
        config, seed = self._config, self._session.config.seed
        knobs = self._session.journal.knobs(self._branch, step)
        plan = plan_step(config, knobs, step - 1)
        weights = {name: weight for name, weight in plan.weights.items() if name in self._prepared}
        taken = {}
        for name, slots in share_slots(weights, knobs.batch_rows, seed, step).items():
            taken[name], self._cursors[name] = take_rows(
                self._prepared[name].rows, self._cursors.get(name), slots, seed
            )
        record: dict[str, Any] = {
            "stage": plan.stage,
            "lr": plan.lr,
            "weights": {name: weights[name] for name in taken},
            "optimizer": {"weight_decay": knobs.weight_decay, "clip": knobs.clip},
            "rows": taken,
            "row_ids": {
                name: [self._prepared[name].tokens[i].row_id for i in indices] for name, indices in taken.items()
            },
            "micro_batch_tokens": config.micro_batch_tokens,
            "cursors": {name: asdict(self._cursors[name]) for name in taken},
        }
        self._session.records.add_batch(self._branch, step, record)
        return record

    def _rows_of(self, step: int, record: Mapping[str, Any], name: str) -> list[TokenRow]:
        """The rows of one objective in a step. Raises EthosError if they aren't those that its record names."""
        prepared = self._prepared.get(name)
        indices = record["rows"][name]
        rows = [] if prepared is None else [prepared.tokens[i] for i in indices if i < len(prepared.tokens)]
        if [row.row_id for row in rows] != record["row_ids"][name]:
            raise EthosError(
                f"step {step}: the rows of {name} are not those that its record names; "
                "restore the run's rows/ folder, or start a run of another name"
            )
        return rows

    def _step(self, step: int, record: Mapping[str, Any]) -> dict[str, float]:
        """On the compute thread: one whole optimizer step."""
        started = time.perf_counter()
        metrics: dict[str, float] = {"lr": record["lr"]}
        for name in [name for name in OBJECTIVES if name in record["rows"]]:  # one order: gradients add up bit for bit
            rows = self._rows_of(step, record, name)
            before = time.perf_counter()
            batches = pack(rows, record["micro_batch_tokens"])
            result = self._policy.forward_backward(batches, OBJECTIVES[name], record["weights"][name])
            metrics |= _metrics_of(name, result, time.perf_counter() - before)
        if not record["rows"]:  # no weight, or none where there are rows: no moment decays over nothing
            return metrics | {"gradient_norm": 0.0, "seconds": time.perf_counter() - started}
        settings = record["optimizer"]
        metrics["gradient_norm"] = self._policy.optim_step(
            OptimParams(lr=record["lr"], weight_decay=settings["weight_decay"], clip=settings["clip"])
        )
        metrics["seconds"] = time.perf_counter() - started
        return metrics


def _metrics_of(name: str, result: StepMetrics, seconds: float) -> dict[str, float]:
    return {
        f"loss.{name}": result.loss,
        f"units.{name}": result.units,
        f"tokens.{name}": result.tokens,
        f"gradient_norm.{name}": result.gradient_norm,
        f"seconds.{name}": seconds,
    }
