"""The main job, from a config to a report. Launched again, it goes on where it was and repeats nothing."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.judging.checks import require_checks
from ethos.judging.labelled import load_calibration
from ethos.models.engine import Engine
from ethos.progress import Progress
from ethos.report.report import build_report
from ethos.report.writing import html_of, read_report, write_report
from ethos.runs.controls import Controls
from ethos.runs.given import Given, prepare
from ethos.runs.models import ModelShelf
from ethos.runs.placebo import PLACEBO, train_placebo
from ethos.runs.preparation import (
    sources_of,
)
from ethos.runs.reading import (
    SEALED,
    TASTE,
    AskedArm,
    canary_questions,
    choose_prompting,
    read_canaries,
    read_sealed,
    taste,
)
from ethos.runs.reporting import Findings, report_inputs
from ethos.runs.session import Session, open_session
from ethos.runs.student_training import StudentRows, train_student
from ethos.runs.students import RecordedPolicy
from ethos.spec.parse import parse_spec
from ethos.spec.types import Clause, Json
from ethos.store.config.run import load_config
from ethos.store.journal import MAIN
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import State
from ethos.store.written_rows import load_written_rows
from ethos.synthesis.recipes import recipes_of
from ethos.synthesis.sizes import chosen_clauses
from ethos.synthesis.types import Recipe
from ethos.tasting.arms import prompts_for
from ethos.tasting.canaries import CanaryReading, replay_prompts
from ethos.tasting.questions import Question
from ethos.training.guard import Diverged
from ethos.training.policy import Policy
from ethos.training.reward_functions import RewardFunction, find_reward, source_digest


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run."""

    run_dir: Path
    report: dict[str, Any]
    html: Path
    json: Path


def run(config_path: Path, runs_dir: Path, ui: Progress) -> RunOutcome:
    """Runs the main job, goes on with it, or reads its report back, whatever has become of its models then.

    Raises EthosError for what the user can mend; nothing is lost then.
    """
    config = load_config(config_path)
    spec = parse_spec(config.spec)
    clauses = chosen_clauses(config, spec)
    config.require_pool_floor(clauses)
    require_checks(spec)
    new_shelf = partial(ModelShelf, config.models, config_path.resolve().parent, ui, config.training.precision)
    # a wrong name is told before a folder is made
    is_over = os.path.exists(RunDirectory(runs_dir / config.name).report_json)
    shelf = None if is_over else new_shelf()
    functions = {} if is_over else config.training.rewards.functions
    rewards = {name: find_reward(name, where, config_path.resolve().parent) for name, where in functions.items()}
    labelled, written_rows = load_calibration(config.calibration, spec), load_written_rows(config.rows, spec)
    recipes = recipes_of(config.synthesis, replay_prompts())
    with open_session(config, spec, runs_dir, ui, labelled, written_rows) as session:
        for recipe in recipes:
            if recipe.given is not None:
                session.require_same(*recipe.given)
        if (done := _finished(session)) is not None:
            return done
        shelf = shelf or new_shelf()
        _tell_of_mended_rewards(session, rewards)
        try:
            return asyncio.run(_Job(session, shelf, clauses, _controls(session), rewards, recipes).run())
        except BaseException as error:
            state: State = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(EthosError):  # a full disk has no room for the status either
                session.report_status(state, "", message=str(error).split("\n")[0])
            raise


def _tell_of_mended_rewards(session: Session, rewards: Mapping[str, RewardFunction]) -> None:
    """A reward that failed may be mended and the run go on; steps that are drawn keep what the old one said."""
    changed = session.changed_since_last_sitting(
        "reward functions", {name: source_digest(f)[:8] for name, f in rewards.items()}
    )
    if changed:
        session.warn(
            f"the source of a reward changed: {', '.join(changed)}; steps from here on are scored by the new one"
        )


def _controls(session: Session) -> Controls:
    steps = session.config.training.steps
    return Controls(session.run, session.journal, session.records, session.stages, MAIN, steps, session.gate)


def _finished(session: Session) -> RunOutcome | None:
    """The outcome of a run that has its report already; None if there is none, or none that can be read."""
    status, run_dir = session.stages.status(), session.run
    if status is None or status.state != "done" or not run_dir.report_json.exists():
        return None
    try:
        report = read_report(run_dir.report_json)
    except ValueError:
        session.ui.warn(f"{run_dir.report_json}: the file is damaged; the report is written anew")
        return None
    return RunOutcome(run_dir.path, report, html_of(report, run_dir.path), run_dir.report_json)


@dataclass(frozen=True, slots=True)
class _Before:
    """What was measured before training."""

    questions: list[Question]
    canary: CanaryReading
    prompting: dict[str, Any]


@dataclass(slots=True)
class _Job:
    """One sitting, stage by stage."""

    session: Session
    shelf: ModelShelf
    clauses: tuple[Clause, ...]
    controls: Controls
    rewards: Mapping[str, RewardFunction]
    recipes: tuple[Recipe, ...]

    async def run(self) -> RunOutcome:
        """All stages, while requests are attended to."""
        self.controls.restore()
        if not self.controls.gate.is_set():
            self.session.ui.warn(f"the run is paused; `ethos resume {self.session.run.path} --why …` lets it go on")
        self.shelf.worker.gate = self.controls.gate
        return await self.controls.attend_during(self._sitting())

    async def _sitting(self) -> RunOutcome:
        try:
            return await self._stages()
        finally:
            await self._wind_up()

    async def _wind_up(self) -> None:
        """Keeps what endpoints are about to answer, as it is paid for, and drops all else."""
        if under_way := self.shelf.stop():
            requests = f"{under_way} requests are" if under_way > 1 else "a request is"
            self.session.ui.line(f"{requests} under way, and what is answered is kept; Ctrl-C ends the run at once")
        try:
            await self.session.cache.settle()
        finally:
            await self.shelf.close()

    async def _stages(self) -> RunOutcome:
        given = await prepare(self.session, self.shelf, self.clauses, self.recipes)
        before = await self._taste_base(given)
        policy = await self._train(given, before.questions)
        found = await self._measure(given, before, policy)
        session = given.session
        with session.ui.stage("writing the report", 2, "files") as bar:
            report = build_report(report_inputs(session, found))
            html, json_path = write_report(report, session.run.path)
            bar.advance(2)
        session.report_status("done", "")
        return RunOutcome(session.run.path, report, html, json_path)

    async def _taste_base(self, given: Given) -> _Before:
        """The canary and the first look, and which way of prompting is the best."""
        session, base, pool = given.session, given.base, given.pool("taste")
        questions = await canary_questions(session, base)
        canary = await read_canaries(session, "base", base, questions, 0)
        taster = given.taster(given.judge)

        async def first_taste() -> Json:
            await taste(taster, base, pool, questions, "base", 0)
            return None

        tasted: Json = [[s.id for s in taster.scenarios_at(pool, 0)], [q.id for q in questions]]
        await session.once("first look", tasted, first_taste)
        return _Before(questions, canary, await choose_prompting(taster, base, pool, given.count))

    async def _train(self, given: Given, questions: Sequence[Question]) -> Policy:
        """Rows into weights, tasted on the way, and the weights exported."""
        session, taster = given.session, given.taster(given.judge)

        async def look(engine: Engine, step: int) -> None:
            student = RecordedPolicy(engine, session, MAIN, step, TASTE)
            await taste(taster, student, given.pool("taste"), questions, "trained", step)

        rows = StudentRows(given.rows, given.version)
        return await train_student(session, self.shelf, given.base, rows, look, self.controls, self.rewards)

    async def _measure(self, given: Given, before: _Before, policy: Policy) -> Findings:
        """The canary again, and the sealed scenarios, which every arm answers once."""
        session, config = given.session, given.session.config
        steps, sealed = config.training.steps, [s for s in given.scenarios if s.family.pool == "sealed"]
        trained = RecordedPolicy(self.shelf.policy_engine(policy), session, MAIN, steps, SEALED)
        canary = await read_canaries(session, "trained", trained, before.questions, steps)
        chosen, frame_tokens = before.prompting["chosen"], config.synthesis.frame_tokens
        prompted = prompts_for(chosen, sealed, session.spec, given.count, frame_tokens)
        arms: dict[str, AskedArm] = {
            "base": (given.base, None),
            "prompted": (given.base, [p.conversation for p in prompted]),
            "trained": (trained, None),
        }
        if config.placebo:
            try:
                arms[PLACEBO] = (await train_placebo(session, self.shelf, given.base, given.rows, SEALED), None)
            except Diverged as error:  # the trained student is to be measured all the same
                session.note_failure(f"the placebo arm is left out: {error}")
        taster = given.taster(given.sealed_judge)
        return Findings(
            clauses=given.clauses,
            sealed=frozenset(s.id for s in sealed),
            sealed_calibrations=given.sealed_judge.calibrations,
            same_judge=given.sealed_judge.fingerprint in {given.judge.fingerprint, *given.writers},
            base_canary=before.canary,
            trained_canary=canary,
            prompting=before.prompting,
            sealed_readings=await read_sealed(taster, sealed, arms, steps),
            rows=dict(Counter(row.kind for row in given.rows)),
            sources=sources_of(given.rows),
            authors=Counter(row.lineage.author for row in given.rows if row.lineage.author is not None),
        )
