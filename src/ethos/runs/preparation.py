"""From the spec to rows: scenarios, calibrated judges, and what the teacher writes. Each stage is skipped once done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from ethos.judging.adherence import Assessor
from ethos.judging.calibration import Calibration, calibrate
from ethos.judging.clause_reading import ClauseReading, read_clause, wants_case
from ethos.judging.labelled import CalibrationReply
from ethos.judging.near_misses import generate_calibration
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording
from ethos.models.templates import TEMPLATE
from ethos.models.types import Sampler
from ethos.runs.models import FrozenStudent, ModelShelf
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.frame import frame
from ethos.spec.language import language_name
from ethos.spec.scenarios import Family, Pool, Scenario, require_pool_sizes
from ethos.spec.types import Clause, Json, Spec
from ethos.store.parquet_rows import has_rows, read_rows, write_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, PreferenceRow, Row, TaskRow
from ethos.synthesis.demonstrations import Demonstrations
from ethos.synthesis.documents import SPEC_TEXT, Documents
from ethos.synthesis.nearness import HeldOut
from ethos.synthesis.replay import Replay
from ethos.synthesis.scenarios import name_families, write_scenarios
from ethos.synthesis.types import Cast, Job, Recipe
from ethos.tasting.language_probe import probes_in, share_written_in

Labelled = tuple[tuple[str, ...], list[CalibrationReply]]
"""Questions that a judge may be asked about a clause, and replies of which it is known whether they follow it."""


@dataclass(frozen=True, slots=True)
class CalibratedJudge:
    """A judge, and what calibration said of it for each judged clause."""

    judge: RubricJudge
    calibrations: Mapping[str, Calibration]
    fingerprint: str  # of the model behind the judge

    def assessor(self, spec: Spec, case_reader: Sampler | None = None) -> Assessor:
        """The assessor that hears this judge where it may speak; `case_reader` tells which `must` binds a row."""
        return Assessor(spec, self.judge, self.calibrations, case_reader)

    def readable(self, clauses: Sequence[Clause]) -> dict[str, Clause]:
        """The clauses whose replies can be assessed, by id: by checks alone, or by a judge that passed."""
        return {c.id: c for c in clauses if not c.judged or self.calibrations[c.id].passed}


async def probe_language(session: Session, base: FrozenStudent) -> None:
    """Warns if the student can hardly write the spec's language."""
    language = session.spec.language
    if language == "en":
        return
    with session.ui.stage("probing the student's language", len(probes_in(language)), "replies") as bar:
        share = await share_written_in(base, language, bar.advance)
    if share < 0.5:
        session.warn(
            f"the spec is in {language_name(language)}, and the student answered in it in {share:.0%} of the probes: "
            "it can hardly write it"
        )


async def read_clauses(session: Session, clauses: Sequence[Clause], teacher: Sampler) -> dict[str, ClauseReading]:
    """How each clause is read: as it declares, and else as the teacher understands it."""

    async def make() -> Json:
        with session.ui.stage("reading the clauses", total=len(clauses), unit="clauses") as bar:

            async def one(clause: Clause) -> Json:
                reading = await read_clause(clause, session.spec, teacher)
                if wants_case(clause) and not reading.when:
                    session.warn(f"clause {clause.id}: the teacher didn't say when it applies; add `when:` to it")
                bar.advance(1)
                return {"when": reading.when, "questions": list(reading.questions)}

            found = await asyncio.gather(*(one(clause) for clause in clauses))
        return {clause.id: reading for clause, reading in zip(clauses, found, strict=True)}

    inputs: Json = [session.spec.digest, [clause.id for clause in clauses], teacher.fingerprint]
    payload = await session.once("readings of the clauses", inputs, make)
    return {id_: ClauseReading(found["when"], tuple(found["questions"])) for id_, found in payload.items()}


def as_read(spec: Spec, readings: Mapping[str, ClauseReading]) -> Spec:
    """The spec with each clause's case filled in; digests stay those of what was written."""
    return replace(
        spec, clauses=tuple(replace(c, when=readings[c.id].when) if c.id in readings else c for c in spec.clauses)
    )


async def scenarios_of(
    session: Session, clauses: Sequence[Clause], teacher: Sampler, pools: Sequence[Pool], taken_texts: Sequence[str]
) -> list[Scenario]:
    """The scenarios of these pools, none of them close to `taken_texts`: written by the teacher, or read back."""
    config = session.config

    async def make() -> Json:
        spec, settings, seed = session.spec, config.scenarios, config.scenario_seed
        with session.ui.stage("naming subjects", total=len(clauses), unit="clauses") as bar:
            families = await name_families(
                spec, clauses, settings, seed, teacher, pools, bar.advance, session.note_failure, taken_texts
            )
        total = len(families)
        with session.ui.stage("writing scenarios", total=total, unit="prompts") as bar:
            written = await write_scenarios(spec, families, settings, seed, teacher, bar.advance, taken_texts)
        if missing := total - len(written):
            session.note_failure(
                f"{missing} of {total} scenarios are left out: the teacher wrote no usable message for them"
            )
        session.stages.set_counts(f"scenarios {'+'.join(pools)}", {"scenario without a usable message": missing})
        return [{"family": asdict(s.family), "prompt": s.prompt.to_dicts()} for s in written]  # type: ignore[dict-item]

    inputs: Json = [
        session.spec.digest,
        [[clause.id, clause.when] for clause in clauses],
        config.scenarios.model_dump(mode="json"),
        config.scenario_seed,
        teacher.fingerprint,
        list(pools),
        list(taken_texts),
    ]
    payload = await session.once(f"scenarios {'+'.join(pools)}", inputs, make)
    scenarios = [Scenario(Family(**s["family"]), Conversation.from_dicts(s["prompt"])) for s in payload]
    require_pool_sizes(scenarios, pools)
    return scenarios


async def calibrated_judge(
    session: Session, shelf: ModelShelf, clauses: Sequence[Clause], replies: Mapping[str, Labelled], *, sealed: bool
) -> CalibratedJudge:
    """The judge of rows and looks, or that of the sealed pool: another model, or the same asked in other words.

    It is calibrated on every judged clause. `replies`: clause id → (questions, labelled replies).
    """
    names = session.config.models
    name = names.sealed_judge or names.judge if sealed else names.judge
    title = "sealed judge" if sealed else "judge"
    model = await shelf.frozen(session, name, title)
    wording = load_wording("rubric_sealed" if sealed else "rubric", session.spec.language)
    judge = RubricJudge(model, f"{name} ({wording.name})", wording)
    judged = [clause for clause in clauses if clause.judged]

    async def make() -> Json:
        with session.ui.stage(f"calibrating the {title}", total=len(judged), unit="clauses") as bar:

            async def one(clause: Clause) -> Json:
                questions, labelled = replies[clause.id]
                found = await calibrate(judge, clause, questions, labelled)
                bar.advance(1)
                return found.to_dict()

            return list(await asyncio.gather(*(one(clause) for clause in judged)))

    inputs: Json = [
        judge.name,
        asdict(judge.wording),
        {
            id_: [list(questions), [asdict(reply) for reply in labelled]]
            for id_, (questions, labelled) in replies.items()
        },
    ]
    payload = await session.once(f"calibration of the {title}", inputs, make)
    return CalibratedJudge(judge, {found["clause_id"]: Calibration(**found) for found in payload}, model.fingerprint)


def warn_of_unreadable(session: Session, clauses: Sequence[Clause], judge: CalibratedJudge) -> None:
    """Warns of each clause whose judge failed its calibration: it gives documents, and no demonstration.

    And of each `must` on which no judge may speak, for the run doesn't work on it.
    """
    readable = judge.readable(clauses)
    for clause in clauses:
        if clause.id not in readable:
            session.warn(f"no demonstration of clause {clause.id} was judged: {judge.calibrations[clause.id].reason}")
    for must in session.spec.clauses:
        if must.tier == "must" and must.judged and must.id not in judge.calibrations:
            session.warn(
                f"clause {must.id} is a `must` and none of the run's clauses, so no judge was calibrated on it and it "
                "turns no row down; add it to them, or give it checks alone"
            )
    if not readable:
        session.warn(
            f"{session.config.models.judge} failed its calibration on every clause, so the student learns from "
            "documents and replay alone; name a stronger models.judge, or declare checks"
        )


async def labelled_replies(
    session: Session,
    clauses: Sequence[Clause],
    readings: Mapping[str, ClauseReading],
    scenarios: Sequence[Scenario],
    teacher: Sampler,
) -> dict[str, Labelled]:
    """For each judged clause its questions and labelled replies: those of the user's file, else the teacher's.

    They are kept: what an endpoint refused to write in one sitting may not change the calibration in the next.
    """
    judged = [clause for clause in clauses if clause.judged]
    train = [s for s in scenarios if s.family.pool == "train" and not s.family.contrast]

    async def make() -> Json:
        with session.ui.stage("gathering labelled replies", total=len(judged), unit="clauses") as bar:

            async def one(clause: Clause) -> Json:
                labelled = [reply for reply in session.labelled if reply.clause_id == clause.id]
                if not labelled:
                    prompts = [s.prompt for s in train if s.clause_id == clause.id]
                    labelled = await generate_calibration(clause, session.spec, teacher, prompts)
                bar.advance(1)
                return [asdict(reply) for reply in labelled]

            found = await asyncio.gather(*(one(clause) for clause in judged))
        return {clause.id: replies for clause, replies in zip(judged, found, strict=True)}

    inputs: Json = [
        session.spec.digest,
        [clause.id for clause in judged],
        [scenario.id for scenario in train],
        teacher.fingerprint,
    ]
    payload = await session.once("labelled replies", inputs, make)
    return {
        clause.id: (readings[clause.id].questions, [CalibrationReply(**reply) for reply in payload[clause.id]])
        for clause in judged
    }


async def rows_of(
    session: Session,
    job: Job,
    cast: Cast,
    replay_prompts: Sequence[str],
    held_out: Sequence[str],
    inputs: Json,
    written_rows: Sequence[Row] = (),
) -> dict[str, str]:
    """Names of row files by kind, written now or read back. What was rejected is counted by reason.

    `written_rows` are the user's own. Neither they nor what the teacher writes hold a prompt of `held_out`.
    """
    recipes: list[Recipe] = [Documents(), Demonstrations(), Replay(replay_prompts)]

    async def written(recipe: Recipe) -> list[Row]:
        with session.ui.stage(f"writing {recipe.name}", total=recipe.size(job), unit="units") as bar:
            return [row async for row in recipe.rows(job, cast, bar.advance)]

    async def make() -> Json:
        # all at once: the last draws of one recipe leave slots of the engine that another fills
        by_recipe = await asyncio.gather(*(written(recipe) for recipe in recipes if recipe.size(job)))
        every = [*(row for rows in by_recipe for row in rows), *written_rows]
        made = _apart(every, held_out, job.rejected)
        session.stages.set_counts("rows", dict(job.rejected))
        files: dict[str, Json] = {}
        for kind in (DocumentRow, DemonstrationRow, PreferenceRow, TaskRow):
            rows = list({row.id: row for row in made if isinstance(row, kind)}.values())
            if rows:
                files[kind.kind] = write_rows(session.run, kind.kind, rows)[0].name
        return files

    holds = partial(has_rows, session.run)
    asked: Json = [inputs, list(held_out), [row.id for row in written_rows]]
    files: dict[str, str] = await session.once("rows", asked, make, holds)
    return files


def framed(
    rows: Sequence[Row], spec: Spec, budget_tokens: int, count: Callable[[str], int], system_message: str | None
) -> list[Row]:
    """The rows, with the frame of its clauses in what a teacher sees of each task that has clauses.

    It stands before the task's own system message, or before the run's where the task has none.
    """
    usual = None if system_message == TEMPLATE else system_message
    shown = []
    for row in rows:
        if isinstance(row, TaskRow) and row.lineage.clause_ids:
            found = frame(spec, row.lineage.clause_ids, budget_tokens, count)
            lineage = replace(row.lineage, frame_digest=found.digest)
            said = next((m.content for m in row.prompt.messages if m.role == "system"), usual)
            system = found.text if said is None else f"{found.text}\n\n{said}"
            row = replace(row, lineage=lineage, teacher_prompt=row.prompt.with_system(system))
        shown.append(row)
    return shown


def _apart(rows: Sequence[Row], held_out: Sequence[str], rejected: Counter[str]) -> list[Row]:
    """The rows without a held-out prompt in them; the spec's own text stays as it is."""
    prompts = HeldOut(held_out)
    kept = []
    for row in rows:
        if row.lineage.recipe != SPEC_TEXT and prompts.stands_in(row.text):
            rejected[f"{row.lineage.recipe}: holds a prompt of taste, sealed pool or canary"] += 1
        else:
            kept.append(row)
    return kept


def load_rows(session: Session, files: Mapping[str, str]) -> list[Row]:
    """The rows of a run's files."""
    return [row for name in files.values() for row in read_rows(session.run.rows / name)]


def sources_of(rows: Sequence[Row]) -> dict[str, int]:
    """Rows by clause or capability source; those that show where a clause does not apply count apart."""
    found: Counter[str] = Counter()
    for row in rows:
        if row.lineage.capability_source is not None:
            found[row.lineage.capability_source] += 1
        else:
            of_one = len(row.lineage.clause_ids) == 1
            name = row.lineage.clause_ids[0] if of_one else "the spec as a whole"
            found[f"{name}, contrast" if row.lineage.contrast else name] += 1
    return dict(found)


def missing_rows(job: Job, rows: Sequence[Row]) -> list[str]:
    """A warning for each recipe that was asked for rows and gave none, and for each clause without a demonstration."""
    asked = {
        "documents": job.config.documents.count,
        "demonstrations": len(job.scenarios),
        "replay": job.config.demonstrations.replay_rows,
    }
    made = Counter(row.lineage.recipe for row in rows)
    warnings = [
        f"{recipe}: not one row was kept; see why in `rejected`"
        for recipe, n in asked.items()
        if n and not made[recipe]
    ]
    asked_for = dict.fromkeys(scenario.clause_id for scenario in job.scenarios)
    demonstrations = [row.lineage for row in rows if row.lineage.recipe == "demonstrations"]
    shown = {clause_id for lineage in demonstrations if not lineage.contrast for clause_id in lineage.clause_ids}
    return warnings + [
        f"clause {clause_id}: not one demonstration was kept; see why in `rejected`"
        for clause_id in asked_for
        if clause_id not in shown
    ]
