"""From the spec to rows: clauses as read, scenarios, and what the teacher writes. A stage is skipped once done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from ethos.judging.clause_reading import ClauseReading, read_clause, wants_case
from ethos.models.templates import TEMPLATE
from ethos.models.types import Sampler
from ethos.runs.session import Session
from ethos.runs.students import FrozenStudent
from ethos.spec.conversation import Conversation
from ethos.spec.frame import frame
from ethos.spec.language import language_name
from ethos.spec.scenarios import Family, Pool, Scenario, require_pool_sizes
from ethos.spec.types import Clause, Json, Spec
from ethos.store.parquet_rows import has_rows, read_rows, write_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, PreferenceRow, Row, TaskRow
from ethos.synthesis.documents import SPEC_TEXT
from ethos.synthesis.nearness import HeldOut
from ethos.synthesis.scenarios import name_families, write_scenarios
from ethos.synthesis.types import Cast, Job, Recipe
from ethos.tasting.language_probe import probes_in, share_written_in


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


async def rows_of(
    session: Session,
    job: Job,
    cast: Cast,
    recipes: Sequence[Recipe],
    held_out: Sequence[str],
    inputs: Json,
    written_rows: Sequence[Row] = (),
) -> dict[str, str]:
    """Names of row files by kind, written now or read back. What was rejected is counted by reason.

    `written_rows` are the user's own. No row holds a prompt of `held_out`.
    """

    async def written(recipe: Recipe) -> list[Row]:
        if not recipe.size(job):  # there may be rows that no model is asked for
            return [row async for row in recipe.rows(job, cast, lambda: None)]
        with session.ui.stage(f"writing {recipe.name}", total=recipe.size(job), unit="units") as bar:
            return [row async for row in recipe.rows(job, cast, bar.advance)]

    async def make() -> Json:
        # all at once: the last draws of one recipe leave slots of the engine that another fills
        by_recipe = await asyncio.gather(*(written(recipe) for recipe in recipes))
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
    given: list[Json] = [recipe.given[1] for recipe in recipes if recipe.given is not None]
    asked: Json = [inputs, given, list(held_out), [row.id for row in written_rows]]
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


def missing_rows(job: Job, recipes: Sequence[Recipe], rows: Sequence[Row]) -> list[str]:
    """A warning for each recipe that was asked for rows and gave none, and for each clause without a demonstration."""
    made = {row.lineage.recipe for row in rows}
    warnings = [
        f"{recipe.name}: not one row was kept; see why in `rejected`"
        for recipe in recipes
        if recipe.size(job) and recipe.name not in made
    ]
    asked_for = dict.fromkeys(scenario.clause_id for scenario in job.scenarios)
    demonstrations = [row.lineage for row in rows if row.lineage.recipe == "demonstrations"]
    shown = {clause_id for lineage in demonstrations if not lineage.contrast for clause_id in lineage.clause_ids}
    return warnings + [
        f"clause {clause_id}: not one demonstration was kept; see why in `rejected`"
        for clause_id in asked_for
        if clause_id not in shown
    ]
