"""The main job, from a config to a report. Launched again, it goes on where it was and repeats nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ethos.judging.checks import require_checks
from ethos.judging.labelled import load_calibration
from ethos.judging.recitation import recitation_of
from ethos.progress import Progress
from ethos.report.report import build_report
from ethos.report.writing import write_report
from ethos.runs.controls import Controls, next_step
from ethos.runs.models import FrozenStudent, ModelShelf, RecordedPolicy
from ethos.runs.placebo import PLACEBO, train_placebo
from ethos.runs.preparation import (
    as_read,
    calibrated_judge,
    labelled_replies,
    load_rows,
    missing_rows,
    probe_language,
    read_clauses,
    rows_of,
    scenarios_of,
    sources_of,
    warn_of_unreadable,
)
from ethos.runs.reading import (
    SEALED,
    TASTE,
    AskedArm,
    Taster,
    canary_questions,
    choose_prompting,
    glance_at_canaries,
    read_canaries,
    read_sealed,
)
from ethos.runs.reporting import Findings, report_inputs
from ethos.runs.session import Session, open_session
from ethos.runs.training import Trainer, prepare_rows, require_rows, rows_left_out
from ethos.spec.parse import parse_spec
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause
from ethos.store.canonical import digest
from ethos.store.config import load_config
from ethos.store.journal import MAIN
from ethos.store.rows import Row
from ethos.store.stages import State
from ethos.synthesis.sizes import chosen_clauses
from ethos.synthesis.types import Cast, Job
from ethos.tasting.arms import prompts_for
from ethos.tasting.canaries import replay_prompts
from ethos.tasting.questions import Question
from ethos.training.policy import Policy

STUDENT_FOLDER = "student"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run."""

    run_dir: Path
    report: dict[str, Any]
    html: Path
    json: Path


def run(config_path: Path, runs_dir: Path, ui: Progress) -> RunOutcome:
    """Runs the main job, or goes on with it. Raises EthosError for what the user can mend; nothing is lost then."""
    config = load_config(config_path)
    spec = parse_spec(config.spec)
    clauses = chosen_clauses(config, spec)
    config.pool_floor(len(clauses))
    require_checks(spec)
    shelf = ModelShelf(config.models, config_path.resolve().parent, ui)
    with open_session(config, spec, runs_dir, ui, load_calibration(config.calibration, spec)) as session:
        if (done := _finished(session)) is not None:
            return done
        try:
            return asyncio.run(_Job(session, shelf, clauses, _controls(session)).run())
        except BaseException as error:
            state: State = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            session.report_status(state, "", message=str(error).split("\n")[0])
            raise


def _controls(session: Session) -> Controls:
    steps = session.config.training.steps
    return Controls(session.run, session.journal, session.records, session.stages, MAIN, steps, session.gate)


def _finished(session: Session) -> RunOutcome | None:
    """The outcome of a run that has its report already."""
    status, run_dir = session.stages.status(), session.run
    if status is None or status.state != "done" or not run_dir.report_json.exists():
        return None
    report = json.loads(run_dir.report_json.read_text(encoding="utf-8"))
    return RunOutcome(run_dir.path, report, run_dir.report_html, run_dir.report_json)


@dataclass(slots=True)
class _Job:
    """One sitting, stage by stage."""

    session: Session
    shelf: ModelShelf
    clauses: tuple[Clause, ...]
    controls: Controls

    async def run(self) -> RunOutcome:
        """All stages, while requests are attended to."""
        self.controls.restore()
        if not self.controls.gate.is_set():
            self.session.ui.warn(f"the run is paused; `ethos resume {self.session.run.path}` lets it go on")
        self.shelf.worker.gate = self.controls.gate
        try:
            async with self.controls.attended():
                return await self._stages()
        finally:
            await self.shelf.close()

    async def _stages(self) -> RunOutcome:
        session, config = self.session, self.session.config
        await asyncio.to_thread(self.shelf.fetch)
        with session.ui.stage("loading models"):
            base = await self.shelf.base_student(session)
            teacher = await self.shelf.frozen(session, config.models.teacher, "teacher")
        count = _token_counter(base)
        await probe_language(session, base)

        readings = await read_clauses(session, self.clauses, teacher)
        session = replace(session, spec=as_read(session.spec, readings))
        clauses = tuple(session.spec.clause(clause.id) for clause in self.clauses)

        scenarios = await scenarios_of(session, clauses, teacher, ("train", "taste", "sealed"), replay_prompts())
        pools = {pool: [s for s in scenarios if s.family.pool == pool] for pool in ("train", "taste", "sealed")}
        labelled = await labelled_replies(session, clauses, readings, scenarios, teacher)
        judge = await calibrated_judge(session, self.shelf, clauses, labelled, sealed=False)
        sealed_judge = await calibrated_judge(session, self.shelf, clauses, labelled, sealed=True)
        readable = judge.readable(clauses)
        warn_of_unreadable(session, clauses, judge)

        assessor = judge.assessor(session.spec, case_reader=teacher)
        job = Job(
            session.spec,
            clauses,
            tuple(s for s in pools["train"] if s.clause_id in readable),
            config.synthesis,
            config.seed,
            count,
        )
        inputs: list[Any] = [
            digest([s.id for s in job.scenarios]),
            config.synthesis.model_dump(mode="json"),
            config.seed,
        ]
        inputs += [teacher.fingerprint, [c.to_dict() for c in judge.calibrations.values()]]
        files = await rows_of(session, job, Cast(teacher, base, assessor), replay_prompts(), inputs)
        rows = load_rows(session, files)
        for warning in missing_rows(job, rows):
            session.warn(warning)

        recitation = recitation_of(session.spec)
        taster = Taster(session, assessor, recitation)
        questions = await canary_questions(session, base)
        base_canary = await read_canaries(session, "base", base, questions, 0)
        taste = [s for s in pools["taste"] if not s.family.contrast]
        await taster.look(base, taster.scenarios_at(taste, 0), None, "base", 0, TASTE)
        await glance_at_canaries(session, base, questions, 0)
        prompting = await choose_prompting(taster, base, taste, count)

        policy = await self._train(taster, rows, taste, questions, digest(sorted(files.values())))
        steps = config.training.steps
        trained = RecordedPolicy(self.shelf.policy_engine(policy), session.records, "main", steps, SEALED)
        trained_canary = await read_canaries(session, "trained", trained, questions, steps)
        sealed, frame_tokens = pools["sealed"], config.synthesis.frame_tokens
        prompted = prompts_for(prompting["chosen"], sealed, session.spec, count, frame_tokens)
        arms: dict[str, AskedArm] = {
            "base": (base, None),
            "prompted": (base, [p.conversation for p in prompted]),
            "trained": (trained, None),
        }
        if config.placebo:
            arms[PLACEBO] = (await train_placebo(session, self.shelf, base, rows, SEALED), None)
        sealed_taster = Taster(session, sealed_judge.assessor(session.spec), recitation)
        sealed_readings = await read_sealed(sealed_taster, sealed, arms, steps, digest([s.id for s in sealed]))

        found = Findings(
            clauses=clauses,
            sealed_calibrations=sealed_judge.calibrations,
            base_canary=base_canary,
            trained_canary=trained_canary,
            prompting=prompting,
            sealed_readings=sealed_readings,
            rows={kind: sum(row.kind == kind for row in rows) for kind in files},
            sources=sources_of(rows),
        )
        session.report_status("running", "writing the report", steps, steps, steps)
        report = build_report(report_inputs(session, found))
        html, json_path = write_report(report, session.run.path)
        session.report_status("done", "", step=steps, total=steps)
        return RunOutcome(session.run.path, report, html, json_path)

    async def _train(
        self,
        taster: Taster,
        rows: Sequence[Row],
        taste: Sequence[Scenario],
        questions: Sequence[Question],
        version: str,
    ) -> Policy:
        session, config = self.session, self.session.config
        policy = await self.shelf.policy(config.training, config.system_message, config.seed)
        engine = self.shelf.policy_engine(policy)
        prepared = prepare_rows(policy, version, rows)
        if left_out := rows_left_out(rows, prepared):
            session.stages.set_counts("training", {"longer than training.context_tokens": left_out})
            session.warn(f"{left_out} conversations are longer than training.context_tokens and are left out")
        weights = session.journal.knobs(MAIN, next_step(session.records, config.training.steps)).mixture.model_dump()
        require_rows(config.training, weights, prepared, session.stages.counts())

        async def look(step: int) -> None:
            student = RecordedPolicy(engine, session.records, "main", step, TASTE)
            await taster.look(student, taster.scenarios_at(taste, step), None, "trained", step, TASTE)
            await glance_at_canaries(session, student, questions, step)

        trainer = Trainer(session, policy, prepared, MAIN, config.training.steps, self.controls)
        await trainer.train(self.shelf.worker.run, look, engine.weights_changed)
        await self.shelf.worker.run(policy.export, session.run.path / STUDENT_FOLDER)
        await self.shelf.worker.run(policy.end_training)
        return policy


def _token_counter(base: FrozenStudent) -> Any:
    template = base.engine.template
    return lambda text: len(template.encode(text))
