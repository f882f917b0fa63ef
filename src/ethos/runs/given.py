"""What training and measuring start from: clauses as read, scenarios, calibrated judges, and all rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ethos.judging.recitation import recitation_of
from ethos.models.chorus import Chorus
from ethos.models.types import Sampler
from ethos.runs.controls import next_step
from ethos.runs.judges import (
    CalibratedJudge,
    Labelled,
    calibrated_comparer,
    calibrated_judge,
    labelled_replies,
    warn_of_unreadable,
)
from ethos.runs.models import ModelShelf
from ethos.runs.preparation import (
    as_read,
    framed,
    load_rows,
    missing_rows,
    probe_language,
    read_clauses,
    rows_of,
    scenarios_of,
)
from ethos.runs.prepared import require_own_rows
from ethos.runs.reading import Taster
from ethos.runs.session import Session
from ethos.runs.students import FrozenStudent
from ethos.spec.scenarios import Pool, Scenario
from ethos.spec.types import Clause
from ethos.store.canonical import digest
from ethos.store.journal import MAIN
from ethos.store.rows import Row
from ethos.synthesis.recipes import written_objectives
from ethos.synthesis.types import Cast, Job, Recipe
from ethos.tasting.canaries import canary_texts_asked, texts_kept_apart


@dataclass(frozen=True, slots=True)
class Given:
    """What training and measuring start from."""

    session: Session  # its spec with the case of each clause filled in
    clauses: tuple[Clause, ...]
    scenarios: tuple[Scenario, ...]
    judge: CalibratedJudge
    sealed_judge: CalibratedJudge
    base: FrozenStudent
    writers: frozenset[str]  # fingerprints of the teacher and the chorus
    count: Callable[[str], int]  # the student's tokens in a text
    rows: tuple[Row, ...]
    version: str  # of the files that hold the rows

    def pool(self, pool: Pool) -> list[Scenario]:
        """The scenarios of a pool, contrasts left out."""
        return [s for s in self.scenarios if s.family.pool == pool and not s.family.contrast]

    def taster(self, judge: CalibratedJudge) -> Taster:
        """Takes looks with that judge."""
        return Taster(self.session, judge.assessor(self.session.spec), recitation_of(self.session.spec))


async def prepare(session: Session, shelf: ModelShelf, chosen: tuple[Clause, ...], recipes: Sequence[Recipe]) -> Given:
    """From the spec to rows. Raises EthosError, before anything is paid for, for what can't be done without."""
    config = session.config
    for recipe in recipes:
        await recipe.make_ready(config.synthesis)
    await asyncio.to_thread(shelf.fetch)
    await shelf.keep_to_launch(session)
    await shelf.load(config.system_message)
    base = await shelf.base_student(session)
    teacher = await shelf.frozen(session, config.models.teacher, "teacher")
    await shelf.require_fit(session, base)
    _require_own_rows(session, recipes, base)
    await probe_language(session, base)

    readings = await read_clauses(session, chosen, teacher)
    session = replace(session, spec=as_read(session.spec, readings))
    clauses = tuple(session.spec.clause(clause.id) for clause in chosen)
    apart = (*texts_kept_apart(), *dict.fromkeys(reply.scenario for reply in session.labelled))
    scenarios = await scenarios_of(session, clauses, teacher, ("train", "taste", "sealed"), apart)
    labelled = await labelled_replies(session, clauses, readings, scenarios, teacher)
    judge = await calibrated_judge(session, shelf, clauses, labelled, sealed=False)
    sealed_judge = await calibrated_judge(session, shelf, clauses, labelled, sealed=True)
    warn_of_unreadable(session, clauses, judge)

    cast = await _cast(session, shelf, recipes, clauses, labelled, judge, base, teacher)
    voices = cast.writer.fingerprints if isinstance(cast.writer, Chorus) else ()
    count = _token_counter(base)
    rows, version = await _rows(session, recipes, clauses, scenarios, judge, cast, count)
    return Given(
        session=session,
        clauses=clauses,
        scenarios=tuple(scenarios),
        judge=judge,
        sealed_judge=sealed_judge,
        base=base,
        writers=frozenset({teacher.fingerprint, *voices}),
        count=count,
        rows=tuple(rows),
        version=version,
    )


async def _cast(
    session: Session,
    shelf: ModelShelf,
    recipes: Sequence[Recipe],
    clauses: Sequence[Clause],
    labelled: Mapping[str, Labelled],
    judge: CalibratedJudge,
    base: FrozenStudent,
    teacher: Sampler,
) -> Cast:
    """Who makes the rows."""
    config, comparer = session.config, None
    if "preferences" in written_objectives(recipes, config.synthesis):
        comparer = await calibrated_comparer(session, shelf, clauses, labelled, judge)
    writer = await shelf.chorus(session) if config.models.chorus else teacher
    return Cast(writer, base, judge.assessor(session.spec, case_reader=teacher), comparer)


async def _rows(
    session: Session,
    recipes: Sequence[Recipe],
    clauses: tuple[Clause, ...],
    scenarios: Sequence[Scenario],
    judge: CalibratedJudge,
    cast: Cast,
    count: Callable[[str], int],
) -> tuple[list[Row], str]:
    """All rows, and the version of the files that hold them."""
    config, readable = session.config, judge.readable(clauses)
    asked = tuple(s for s in scenarios if s.family.pool == "train" and s.clause_id in readable)
    job = Job(session.spec, clauses, asked, config.synthesis, config.seed, count)
    settings = config.synthesis.model_dump(mode="json", exclude={"code_translation": {"functions"}})
    inputs: list[Any] = [digest([s.id for s in asked]), settings, config.seed, cast.writer.fingerprint]
    inputs.append([calibration.to_dict() for calibration in judge.calibrations.values()])
    if cast.comparer is not None:
        inputs.append([calibration.to_dict() for calibration in cast.comparer.calibrations.values()])
    held_out = [s.prompt.last_user for s in scenarios if s.family.pool != "train"]
    held_out += canary_texts_asked()
    own_rows = list(session.written_rows)
    if config.models.distillation_teacher is None:  # then it is the student itself, which sees the frame
        own_rows = framed(own_rows, session.spec, config.synthesis.frame_tokens, count, config.system_message)
    files = await rows_of(session, job, cast, recipes, held_out, inputs, own_rows)
    rows = load_rows(session, files)
    for warning in missing_rows(job, recipes, rows):
        session.warn(warning)
    return rows, digest(sorted(files.values()))


def _require_own_rows(session: Session, recipes: Sequence[Recipe], base: FrozenStudent) -> None:
    training = session.config.training
    weights = session.journal.knobs(MAIN, next_step(session.records, training.steps)).mixture
    written = written_objectives(recipes, session.config.synthesis)
    require_own_rows(base.engine.template, training, weights.model_dump(), session.written_rows, written)


def _token_counter(base: FrozenStudent) -> Callable[[str], int]:
    template = base.engine.template
    return lambda text: len(template.encode(text))
