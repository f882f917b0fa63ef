"""`revisions`: the student's own replies, each critiqued and written anew under a clause drawn at random.

Published as the first stage of Constitutional AI (Bai et al. 2022, section 3.1): there the model revises itself, turn
after turn, each time under another principle, and every turn's revision is trained on. Here the teacher may do it
instead, and what is kept has to pass what any other row has to. The row holds the message and the revision alone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass

from ethos.judging.cases import is_any_case
from ethos.models.types import Sample, Sampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import language_name
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.acceptance import Acceptance, Found
from ethos.synthesis.expected import (
    FRESH_REPLY,
    JUDGED,
    TYPICAL_PROBE,
    TYPICAL_REPLY,
    Calls,
    PlannedCast,
    Role,
    prompt_tokens,
    rubric_calls,
    text_tokens,
)
from ethos.synthesis.types import REFUSED, Cast, Job, Recipe, in_order, patterns_of, wording

CRITIQUE_TOKENS = 100
_TALK = "talks about itself"


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply once more."""

    clause: Clause  # that it was revised under
    critique: Sample
    revision: Sample


@dataclass(frozen=True, slots=True)
class Revised:
    """A reply of the student, and what became of it."""

    scenario: Scenario
    original: Sample
    turns: tuple[Turn, ...]

    def samples(self, turn: int) -> list[Sample]:
        """All that led to the revision of a turn, counted from 0."""
        later = [sample for each in self.turns[: turn + 1] for sample in (each.critique, each.revision)]
        return [self.original, *later]


class Revisions(Recipe):
    """A row for each revision that passes."""

    name = "revisions"

    def size(self, job: Job) -> int:
        """Prompts."""
        return len(first_prompts(job, job.config.revisions.per_clause))

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The student's replies, critiques and revisions of them, and what it takes to look at these."""
        settings, asked = job.config.revisions, first_prompts(job, job.config.revisions.per_clause)
        yield from expected_revisions(job, cast, asked)
        yield from expected_looks(job, cast, asked)
        own, most = Counter(scenario.clause_id for scenario in asked), len(asked) * settings.turns
        yield from cast.vetoes(job.spec, len(asked), own, most * JUDGED, most, settings.max_tokens)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Those of a prompt in the order of their turns."""
        acceptance = Acceptance(job.spec, cast.assessor)

        async def work(scenario: Scenario) -> list[DemonstrationRow]:
            revised = await revise(job, cast, scenario)
            if revised.original.finish_reason != "stop":
                job.rejected[f"revision: reply {REFUSED if revised.original.refusal else 'cut off'}"] += 1
            found = await asyncio.gather(*(look_at(acceptance, revised, turn) for turn in range(len(revised.turns))))
            rows: dict[str, DemonstrationRow] = {}
            for turn, seen in enumerate(found):
                if seen.rejection is not None:
                    job.rejected[f"revision: {seen.rejection}"] += 1
                else:
                    rows[revised.turns[turn].revision.text] = _row(revised, turn, seen)
            advance()
            return list(rows.values())

        async for rows in in_order(work, first_prompts(job, job.config.revisions.per_clause)):
            for row in rows:
                yield row


def first_prompts(job: Job, per_clause: int) -> list[Scenario]:
    """The first scenarios of each clause that call on it."""
    chosen: list[Scenario] = []
    count: Counter[str] = Counter()
    for scenario in job.scenarios:
        if not scenario.family.contrast and count[scenario.clause_id] < per_clause:
            count[scenario.clause_id] += 1
            chosen.append(scenario)
    return chosen


async def revise(job: Job, cast: Cast, scenario: Scenario) -> Revised:
    """The student's reply, and its revisions, each made from the one before; they end with one that isn't whole."""
    settings = job.config.revisions
    params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)
    (original,) = await cast.student.sample(scenario.prompt, params)
    reviser: Sampler = cast.student if settings.reviser == "self" else cast.writer
    turns: list[Turn] = []
    latest = original
    for turn in range(settings.turns):
        if latest.finish_reason != "stop":
            break
        clause = _drawn_clause(job, scenario, turn)
        asked = critique_prompt(job.spec, clause, scenario, latest.text)
        (critique,) = await reviser.sample(asked, _brief(params))
        if critique.refusal or not critique.text.strip():  # one that was cut off says enough
            job.rejected["revision: no critique"] += 1
            break
        asked = revision_prompt(job.spec, clause, asked, critique.text)
        (latest,) = await reviser.sample(asked, params)
        turns.append(Turn(clause, critique, latest))
    return Revised(scenario, original, tuple(turns))


def _brief(params: SamplingParams) -> SamplingParams:
    return SamplingParams(max_tokens=CRITIQUE_TOKENS, temperature=params.temperature, seed=params.seed)


def _drawn_clause(job: Job, scenario: Scenario, turn: int) -> Clause:
    """Any that bears on the message: the scenario's own, or one that bears on all; a judge can tell of each."""
    return random.Random(f"{job.seed}/{scenario.id}/{turn}").choice(_bearing_clauses(job, scenario))


def _bearing_clauses(job: Job, scenario: Scenario) -> list[Clause]:
    told = {each.clause_id for each in job.scenarios}
    return [c for c in job.clauses if c.id == scenario.clause_id or (c.id in told and is_any_case(c))]


async def look_at(acceptance: Acceptance, revised: Revised, turn: int) -> Found:
    """Whether the revision of a turn may become a row, under the clause that it was revised under."""
    made = revised.turns[turn]
    if made.revision.finish_reason == "stop" and patterns_of("revision_talk").search(made.revision.text):
        return Found(_TALK)
    return await acceptance.look(revised.scenario, made.revision, made.clause)


def critique_prompt(spec: Spec, clause: Clause, scenario: Scenario, reply: str) -> Conversation:
    """Asks what is wrong with a reply."""
    return wording("critique").fill(
        trusted={
            "name": spec.name,
            "clause": clause.text,
            "reason": clause.reason,
            "language": language_name(spec.language),
        },
        quoted={"message": scenario.prompt.last_user, "reply": reply},
    )


def revision_prompt(spec: Spec, clause: Clause, asked: Conversation, critique: str) -> Conversation:
    """The same conversation, gone on with: the critique, and the wish for another reply."""
    written = wording("revision").fill(trusted={"clause": clause.text, "language": language_name(spec.language)})
    return asked.then("assistant", critique).then("user", written.last_user)


def expected_revisions(job: Job, cast: PlannedCast, scenarios: list[Scenario]) -> Iterator[tuple[Role, Calls]]:
    """The calls that revising the student's replies to these takes."""
    settings = job.config.revisions
    role: Role = "student" if settings.reviser == "self" else "writer"
    reply, critique = settings.max_tokens * TYPICAL_PROBE, CRITIQUE_TOKENS * TYPICAL_REPLY
    for scenario in scenarios:
        yield "student", cast.answers(1, scenario.prompt.last_user, settings.max_tokens)
        clause = job.spec.clause(scenario.clause_id)
        asked = critique_prompt(job.spec, clause, scenario, "word" * round(reply))
        again = revision_prompt(job.spec, clause, asked, "word" * round(critique))
        shown = prompt_tokens(again)
        fresh = text_tokens(scenario.prompt.last_user) + reply + FRESH_REPLY
        yield role, Calls(settings.turns, settings.turns, prompt_tokens(asked), critique, CRITIQUE_TOKENS, fresh)
        yield role, Calls(settings.turns, settings.turns, shown, reply, settings.max_tokens, critique + reply)


def expected_looks(job: Job, cast: PlannedCast, scenarios: list[Scenario]) -> Iterator[tuple[Role, Calls]]:
    """What a look at each revision takes under the clause that was drawn for it: any that bears on the message."""
    settings = job.config.revisions
    for scenario in scenarios:
        bearing = _bearing_clauses(job, scenario)
        for clause in (clause for clause in bearing if clause.judged):
            count = settings.turns / len(bearing)
            calls = rubric_calls(
                cast.judge, "rubric", job.spec, clause, count * JUDGED, settings.turns, settings.max_tokens
            )
            yield "judge", calls


def _row(revised: Revised, turn: int, found: Found) -> DemonstrationRow:
    clause, scenario, samples = revised.turns[turn].clause, revised.scenario, revised.samples(turn)
    lineage = Lineage(
        recipe="revisions",
        clause_ids=(clause.id,),
        clause_digests=(clause.digest,),
        author=revised.turns[turn].revision.author or None,
        family=scenario.family.id,
        pool=scenario.family.pool,
        calls=tuple(sample.call for sample in samples if sample.call),
        verdicts=tuple(asdict(verdict) for verdict in found.verdicts),
        tokens=sum(sample.usage.prompt_tokens + sample.usage.completion_tokens for sample in samples),
    )
    return DemonstrationRow(scenario.prompt.then("assistant", revised.turns[turn].revision.text), lineage)
