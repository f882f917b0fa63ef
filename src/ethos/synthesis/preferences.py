"""`preferences`: two replies to a train prompt, of which one follows the clause better.

Pairs come from the student's own draws, the best against the worst (as in Yuan et al. 2024, arXiv:2401.10020, section
2.2); from a revision against the reply that it was made of (Bai et al. 2022); and from the student that sees the
frame against the same student that doesn't. Checks and judge have to set the two apart; under a judged clause a second
judgement, which compares them in both orders, has to name the same one, and its odds are the row's soft label. It
abstains where the orders disagree, and such a pair is dropped, as are those that are nearly the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass

from ethos.judging.pairwise import Preference
from ethos.judging.types import Verdict
from ethos.models.types import Sample, SamplingParams
from ethos.spec.frame import frame
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Frame
from ethos.store.config.data import PreferencesConfig, SynthesisConfig
from ethos.store.rows import Lineage, PreferenceRow, Row
from ethos.synthesis.acceptance import Acceptance, Found
from ethos.synthesis.demonstrations import demonstration_prompt
from ethos.synthesis.expected import (
    FRESH_REPLY,
    JUDGED,
    TYPICAL_PROBE,
    Calls,
    PlannedCast,
    Role,
    pairwise_calls,
    prompt_tokens,
    rubric_calls,
)
from ethos.synthesis.nearness import likeness
from ethos.synthesis.revisions import expected_looks, expected_revisions, first_prompts, look_at, revise
from ethos.synthesis.types import Cast, Job, Recipe, in_order

NAME = "preferences"
_LOOKED_AT = 2  # replies of a source, of which a pair is made


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply, and what was found out about it."""

    sample: Sample
    found: Found
    calls: tuple[Sample, ...]  # all that led to it


@dataclass(frozen=True, slots=True)
class _Pair:
    """A reply that may be better than another."""

    source: str
    clause: Clause
    chosen: _Reply
    rejected: _Reply
    frame: Frame | None = None  # what the writer of the chosen one saw


class Preferences(Recipe):
    """At most one pair a prompt and source."""

    name = NAME

    def written_objectives(self, settings: SynthesisConfig) -> tuple[str, ...]:
        """Both that take pairs."""
        return ("preferences", "reward_model") if settings.preferences.per_clause else ()

    def size(self, job: Job) -> int:
        """Prompts."""
        return len(first_prompts(job, job.config.preferences.per_clause))

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The student's replies, and what it takes to look at each and to compare two."""
        settings, asked = job.config.preferences, first_prompts(job, job.config.preferences.per_clause)
        longest = settings.max_tokens
        reply = longest * TYPICAL_PROBE
        for scenario in asked:
            clause, looked_at = job.spec.clause(scenario.clause_id), 0
            if "draws" in settings.sources:
                yield "student", cast.answers(settings.draws, scenario.prompt.last_user, longest)
                looked_at += settings.draws
            if "framed" in settings.sources:
                shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
                prompt = prompt_tokens(demonstration_prompt(job, clause, shown, scenario))
                yield "student", Calls(1, 1, prompt, reply, longest, FRESH_REPLY + reply)
                looked_at += _LOOKED_AT
            if clause.judged:
                judged = rubric_calls(cast.judge, "rubric", job.spec, clause, looked_at * JUDGED, looked_at, longest)
                yield "judge", judged
                pairs = len(settings.sources)
                yield "judge", pairwise_calls(cast.judge, job.spec, clause, pairs * JUDGED, pairs, longest)
            looked_at += _LOOKED_AT * ("revision" in settings.sources)
            yield from cast.vetoes(job.spec, 1, {clause.id: 1}, looked_at * JUDGED, looked_at, longest)
        if "revision" in settings.sources:
            yield from expected_revisions(job, cast, asked)
            for _ in range(_LOOKED_AT):
                yield from expected_looks(job, cast, asked)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Those of a prompt in the order of its sources."""
        acceptance, settings = Acceptance(job.spec, cast.assessor), job.config.preferences

        async def work(scenario: Scenario) -> list[PreferenceRow]:
            pairs = await asyncio.gather(
                *(_SOURCES[name](job, cast, acceptance, scenario) for name in settings.sources)
            )
            rows = await asyncio.gather(*(_row(job, cast, scenario, pair) for pair in pairs if pair is not None))
            advance()
            return [row for row in rows if row is not None]

        async for rows in in_order(work, first_prompts(job, settings.per_clause)):
            for row in rows:
                yield row


async def _of_draws(job: Job, cast: Cast, acceptance: Acceptance, scenario: Scenario) -> _Pair | None:
    """The best of the student's draws that passes, and the worst that is whole."""
    settings = job.config.preferences
    drawn = await cast.student.sample(scenario.prompt, _params(job), range(settings.draws))
    looks = await asyncio.gather(*(acceptance.look(scenario, sample) for sample in drawn))
    replies = [_Reply(sample, found, tuple(drawn)) for sample, found in zip(drawn, looks, strict=True)]
    told = sorted((reply for reply in replies if reply.found.adherence is not None), key=_standing)
    passing = [reply for reply in told if reply.found.rejection is None]
    clause = job.spec.clause(scenario.clause_id)
    if not passing:
        _count_none(job, "draws")
        return None
    return _Pair("draws", clause, passing[-1], told[0])


async def _of_framed(job: Job, cast: Cast, acceptance: Acceptance, scenario: Scenario) -> _Pair | None:
    """What the student says with the frame in its prompt, and what it says without."""
    clause = job.spec.clause(scenario.clause_id)
    shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
    asked = demonstration_prompt(job, clause, shown, scenario)
    (framed,), (plain,) = await asyncio.gather(
        cast.student.sample(asked, _params(job)), cast.student.sample(scenario.prompt, _params(job))
    )
    looks = await asyncio.gather(acceptance.look(scenario, framed), acceptance.look(scenario, plain))
    chosen, rejected = (
        _Reply(sample, found, (framed, plain)) for sample, found in zip((framed, plain), looks, strict=True)
    )
    return _compared(job, _Pair("framed", clause, chosen, rejected, shown))


async def _of_revision(job: Job, cast: Cast, acceptance: Acceptance, scenario: Scenario) -> _Pair | None:
    """The last revision of the student's reply, and that reply."""
    revised = await revise(job, cast, scenario)
    if not revised.turns:
        _count_none(job, "revision")
        return None
    last = len(revised.turns) - 1
    clause = revised.turns[last].clause
    after, before = await asyncio.gather(
        look_at(acceptance, revised, last), acceptance.look(scenario, revised.original, clause)
    )
    calls = tuple(revised.samples(last))
    chosen, rejected = _Reply(revised.turns[last].revision, after, calls), _Reply(revised.original, before, calls)
    return _compared(job, _Pair("revision", clause, chosen, rejected))


_SOURCES = {"draws": _of_draws, "framed": _of_framed, "revision": _of_revision}


def _compared(job: Job, pair: _Pair) -> _Pair | None:
    """The pair, if the one passes and it can be told what the other is worth."""
    if pair.chosen.found.rejection is None and pair.rejected.found.adherence is not None:
        return pair
    _count_none(job, pair.source)
    return None


def _count_none(job: Job, source: str) -> None:
    job.rejected[f"{NAME}, {source}: no reply that passes, or none to hold it against"] += 1


def _standing(reply: _Reply) -> tuple[float, float]:
    """Of a reply among others: adherence, then the judge's odds."""
    return reply.found.adherence or 0.0, reply.found.odds or 0.0


def _params(job: Job) -> SamplingParams:
    settings = job.config.preferences
    return SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)


async def _row(job: Job, cast: Cast, scenario: Scenario, pair: _Pair) -> PreferenceRow | None:
    """The pair as a row, if the two are apart and the judge that compares them doesn't say otherwise."""
    settings = job.config.preferences
    chosen, rejected = pair.chosen, pair.rejected
    why = _too_close(settings, pair)
    said = None
    if why is None and pair.clause.judged:
        said = await cast.compare(pair.clause, scenario.prompt, chosen.sample.text, rejected.sample.text)
        why = _unsure(said)
    if why is not None:
        job.rejected[f"{NAME}, {pair.source}: {why}"] += 1
        return None
    verdicts = [*chosen.found.verdicts, *rejected.found.verdicts]
    probability = 1.0
    if said is not None and said.probability is not None:
        probability = said.probability
        verdicts.append(Verdict(probability, said.evidence, said.judge, pair.clause.id))
    calls = {sample.call: sample for sample in (*chosen.calls, *rejected.calls)}
    lineage = Lineage(
        recipe=NAME,
        clause_ids=(pair.clause.id,),
        clause_digests=(pair.clause.digest,),
        frame_digest=None if pair.frame is None else pair.frame.digest,
        author=chosen.sample.author or None,
        family=scenario.family.id,
        pool=scenario.family.pool,
        calls=tuple(call for call in calls if call),
        verdicts=tuple(asdict(verdict) for verdict in verdicts),
        tokens=sum(sample.usage.prompt_tokens + sample.usage.completion_tokens for sample in calls.values()),
    )
    return PreferenceRow(scenario.prompt, chosen.sample.text, rejected.sample.text, lineage, probability)


def _too_close(settings: PreferencesConfig, pair: _Pair) -> str | None:
    """Why two replies can't be told apart, or are nearly the same; None if neither."""
    chosen, rejected = pair.chosen.sample.text, pair.rejected.sample.text
    if chosen == rejected or likeness(chosen, rejected) > settings.most_alike:
        return "nearly the same"
    better, worse = pair.chosen.found, pair.rejected.found
    if better.odds is not None and worse.odds is not None:
        return None if better.odds - worse.odds >= settings.margin else "near-tie"
    return None if worse.adherence == 0 else "near-tie"


def _unsure(said: Preference | None) -> str | None:
    """Why a comparison speaks against a pair; None if it doesn't, or if no judge that may speak compares."""
    if said is None:
        return None
    if said.probability is None:
        return "the judge that compares gave no answer"
    if said.abstained:
        return "the judge abstains: it names another reply in the other order"
    return None if said.probability > 0.5 else "the judge that compares prefers the other"
