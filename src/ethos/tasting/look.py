"""A look: the student answers scenarios as a closed batch, and each reply is assessed.

On contrast scenarios, where a clause doesn't apply, a look finds whether it was applied all the same; that is never
part of adherence. What can't be scored is counted and never guessed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ethos.judging.adherence import Assessor
from ethos.judging.recitation import Recitation
from ethos.judging.types import Verdict
from ethos.models.types import BatchSampler, FinishReason, PromptTooLong, Sample, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Scenario
from ethos.store.records import Reply

RECITATION, NOT_REACHED, CUT_OFF = "recitation", "not reached", "cut off"  # who gave the verdicts that say so
ANSWERS_A_READING = 2  # the reply, and what is found out about it


@dataclass(frozen=True, slots=True)
class Reading:
    """One reply of an arm at a step, and what was found out about it."""

    arm: str
    step: int
    scenario: Scenario
    reply: str
    finish_reason: FinishReason | None  # None: the probe never reached the model
    adherence: float | None  # None: unscored, or a contrast scenario
    applied: bool | None  # of a contrast scenario: whether the clause was applied; None: unscored, or no contrast
    hollow: bool
    recitation: bool
    verdicts: tuple[Verdict, ...]


def choose_scenarios(scenarios: Sequence[Scenario], per_clause: int, look_index: int) -> list[Scenario]:
    """At most `per_clause` scenarios of each clause for one look, contrast scenarios counted apart.

    The first is in every look, so that its replies can be read side by side over steps. The others rotate: the next
    look goes on where this one ends.
    """
    groups: dict[tuple[str, bool], list[Scenario]] = {}
    for scenario in scenarios:
        groups.setdefault((scenario.clause_id, scenario.family.contrast), []).append(scenario)
    chosen: list[Scenario] = []
    for fixed, *others in groups.values():
        count = min(per_clause - 1, len(others))
        chosen.append(fixed)
        chosen += [others[(look_index * count + position) % len(others)] for position in range(count)]
    return chosen


async def take_look(
    model: BatchSampler,
    scenarios: Sequence[Scenario],
    conversations: Sequence[Conversation],
    assessor: Assessor,
    recitation: Recitation,
    params: SamplingParams,
    arm: str,
    step: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Reading]:
    """One reading a scenario, in order. `conversations` are what the arm is shown of each: see `arms.py`.

    All replies are there before the first is assessed; judges are then asked at once. `advance` is called as each reply
    ends, and again as it has been assessed. A prompt that is too long for the model gives a reading without a reply.
    """

    async def read(scenario: Scenario, sample: Sample | PromptTooLong) -> Reading:
        reading = await _read(arm, step, scenario, sample, assessor, recitation)
        advance()
        return reading

    samples = await _samples(model, conversations, params, advance)
    return list(await asyncio.gather(*(read(*pair) for pair in zip(scenarios, samples, strict=True))))


def adherence_by_clause(readings: Iterable[Reading]) -> dict[str, float]:
    """Clause id -> mean adherence of what was scored, contrast left out; a clause without a score is missing."""
    scored: dict[str, list[float]] = {}
    for reading in readings:
        if reading.adherence is not None:
            scored.setdefault(reading.scenario.clause_id, []).append(reading.adherence)
    return {clause_id: sum(values) / len(values) for clause_id, values in scored.items()}


def overall(readings: Iterable[Reading]) -> float | None:
    """The mean over clauses; None if nothing was scored."""
    means = adherence_by_clause(readings).values()
    return sum(means) / len(means) if means else None


def counts(readings: Iterable[Reading]) -> dict[str, int]:
    """How many readings are what nobody should overlook; each of the reasons is there, if only with 0."""
    found = Counter[str](dict.fromkeys(("not reached", "empty", "cut off", "hollow", "recitation", "unscored"), 0))
    for reading in readings:
        is_reached = reading.finish_reason is not None
        found["not reached"] += not is_reached
        found["empty"] += is_reached and not reading.reply.strip()
        found["cut off"] += reading.finish_reason == "length"
        found["hollow"] += reading.hollow
        found["recitation"] += reading.recitation
        found["unscored"] += is_reached and reading.adherence is None and reading.applied is None
    return dict(found)


def to_records(readings: Iterable[Reading], branch: str, purpose: str) -> list[Reply]:
    """The readings as the run's database keeps them.

    A contrast reading's `adherence` there says whether the clause was applied. Hollow replies, recitation, replies that
    were cut off and probes that never reached the model are known by their verdicts: `judge` is `hollow`, `recitation`,
    `cut off` or `not reached`.
    """
    return [
        Reply(
            branch=branch,
            step=reading.step,
            arm=reading.arm,
            purpose=purpose,
            scenario_id=reading.scenario.id,
            clause_id=reading.scenario.clause_id,
            topic_id=reading.scenario.family.topic_id,
            context=reading.scenario.family.context,
            pool=reading.scenario.family.pool,
            contrast=reading.scenario.family.contrast,
            prompt=reading.scenario.prompt,
            reply=reading.reply,
            adherence=reading.adherence if reading.applied is None else float(reading.applied),
            verdicts=tuple(verdict.to_dict() for verdict in reading.verdicts),
        )
        for reading in readings
    ]


async def _samples(
    model: BatchSampler, conversations: Sequence[Conversation], params: SamplingParams, advance: Callable[[], None]
) -> list[Sample | PromptTooLong]:
    """A sample each. If one of them is too long for the model, they go one by one, to find which."""
    waiting = iter(conversations)

    def ended() -> None:  # a batch that failed may go on beside those that are asked again
        if next(waiting, None) is not None:
            advance()

    async def one(conversation: Conversation) -> Sample | PromptTooLong:
        try:
            [[sample]] = await model.sample_batch([conversation], params)
        except PromptTooLong as error:
            return error
        finally:
            ended()
        return sample

    try:
        return [sample for [sample] in await model.sample_batch(conversations, params, advance=ended)]
    except PromptTooLong:
        return [await one(conversation) for conversation in conversations]


async def _read(
    arm: str, step: int, scenario: Scenario, sample: Sample | PromptTooLong, assessor: Assessor, recitation: Recitation
) -> Reading:
    if isinstance(sample, PromptTooLong):
        verdict = Verdict(None, str(sample), NOT_REACHED, scenario.clause_id)
        return Reading(arm, step, scenario, "", None, None, None, False, False, (verdict,))
    clause = assessor.spec.clause(scenario.clause_id)
    adherence: float | None = None
    applied: bool | None = None
    is_hollow, verdicts = False, tuple[Verdict, ...]()
    if scenario.family.contrast:
        applied, verdicts = await assessor.applies_clause(clause, scenario.prompt, sample.text)
    else:
        found = await assessor.assess(clause, scenario.prompt, sample.text)
        adherence, is_hollow, verdicts = found.adherence, found.hollow_reason is not None, found.verdicts
    recited = recitation.found(sample.text)
    if recited is not None:
        verdicts = (*verdicts, Verdict(None, recited, RECITATION, clause.id))
    if sample.finish_reason == "length":
        said = f"after {sample.usage.completion_tokens} tokens"
        verdicts = (*verdicts, Verdict(None, said, CUT_OFF, clause.id))
    return Reading(
        arm=arm,
        step=step,
        scenario=scenario,
        reply=sample.text,
        finish_reason=sample.finish_reason,
        adherence=adherence,
        applied=applied,
        hollow=is_hollow,
        recitation=recited is not None,
        verdicts=verdicts,
    )
