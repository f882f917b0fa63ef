"""`demonstrations`: the teacher answers train scenarios with the frame in its prompt; the row carries no frame.

A few draws a scenario, and more while fewer pass than are to be kept. A reply is in the spec's language or in its
message's. Checks come before the judge, as they are free; of those that pass, the ones with the best odds are kept, the
shortest where there are none. Contrast scenarios give rows in which the clause is not applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import regex

from ethos.judging.adherence import Assessor
from ethos.judging.checks import language_of
from ethos.judging.hollow import degenerate_reason
from ethos.judging.recitation import recitation_of
from ethos.judging.types import Verdict
from ethos.models.types import Sample, SamplingParams
from ethos.spec.conversation import Conversation, Message
from ethos.spec.frame import frame
from ethos.spec.language import LANGUAGES, UNKNOWN, language_name, words
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Frame, Spec
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.types import ANOTHER_LANGUAGE, REFUSED, Cast, Job, in_order, wording

_COPIED_WORDS = 10  # in a row, of an example or of the spec's prose; a name and its title are fewer
_EXAMPLES = 4  # shown to the teacher


class Demonstrations:
    """Rejection sampling over a few draws."""

    name = "demonstrations"

    def size(self, job: Job) -> int:
        """Scenarios."""
        return len(job.scenarios)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Up to `kept` rows for each scenario, of distinct draws that pass."""
        is_copied = _copies_of(job.spec)

        async def work(scenario: Scenario) -> list[DemonstrationRow]:
            rows = await _demonstrate(job, cast, scenario, is_copied)
            advance()
            return rows

        async for rows in in_order(work, job.scenarios):
            for row in rows:
                yield row


async def _demonstrate(
    job: Job, cast: Cast, scenario: Scenario, is_copied: Callable[[str], bool]
) -> list[DemonstrationRow]:
    clause = job.spec.clause(scenario.clause_id)
    shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
    settings = job.config.demonstrations
    params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)
    asked = demonstration_prompt(job, clause, shown, scenario)
    samples: list[Sample] = []
    passing: list[tuple[float, Sample, tuple[Verdict, ...]]] = []
    while len({sample.text for _, sample, _ in passing}) < settings.kept and len(samples) < settings.max_draws:
        draws = range(len(samples), min(len(samples) + settings.draws, settings.max_draws))
        drawn = await cast.teacher.sample(asked, params, draws)
        samples += drawn
        assessed = await asyncio.gather(*(_assess(job, cast, clause, scenario, sample, is_copied) for sample in drawn))
        for sample, (rejection, odds, verdicts) in zip(drawn, assessed, strict=True):
            if rejection is not None:
                job.rejected[rejection] += 1
            else:
                passing.append((odds, sample, verdicts))
        if all(sample.refusal for sample in drawn):
            break  # it is the prompt that is refused, so no other draw will pass
    if not passing:
        job.rejected["scenario without a passing draw"] += 1
    best_first = sorted(passing, key=lambda found: (-found[0], len(found[1].text)))
    distinct = {sample.text: (sample, verdicts) for _, sample, verdicts in best_first}
    return [
        DemonstrationRow(
            scenario.prompt.then("assistant", sample.text),
            Lineage(
                recipe="demonstrations",
                clause_ids=(clause.id,),
                clause_digests=(clause.digest,),
                frame_digest=shown.digest,
                family=scenario.family.id,
                pool=scenario.family.pool,
                contrast=scenario.family.contrast,
                calls=tuple(s.call for s in samples if s.call),
                verdicts=tuple(asdict(verdict) for verdict in verdicts),
                tokens=sum(s.usage.prompt_tokens + s.usage.completion_tokens for s in samples),
            ),
        )
        for sample, verdicts in list(distinct.values())[: settings.kept]
    ]


def _languages_of(clause: Clause, job: Job, scenario: Scenario) -> set[str]:
    """Those that a reply may be in; none where checks decide that. A contrast is not to do what its clause says."""
    contrast = scenario.family.contrast
    if _declared_language(clause, job.spec, contrast):
        return set()
    named = set() if contrast else _named_languages(clause)
    return {job.spec.language, language_of(scenario.prompt.last_user), UNKNOWN} | named


def _named_languages(clause: Clause) -> set[str]:
    """Those whose English name stands in the clause, as in "It always answers in French."."""
    return {code for code, name in LANGUAGES.items() if regex.search(rf"\b{name}\b", clause.text)}


def _asked_language(clause: Clause, spec: Spec, contrast: bool) -> str:
    """What the teacher is told to write in: the language that is declared, or else the spec's."""
    declared = _declared_language(clause, spec, contrast)
    if declared:
        return "the language of the message" if declared == "prompt" else language_name(declared)
    others = set() if contrast else _named_languages(clause) - {spec.language}
    return language_name(spec.language) + (", unless the above asks for another language" if others else "")


def _declared_language(clause: Clause, spec: Spec, contrast: bool) -> str:
    """What a `language` check asks for, the clause's own or that of a `must` that binds every reply; "" without one."""
    always = [must for must in spec.clauses if must.tier == "must" and must.applies == "always"]
    binding = always if contrast else [clause, *(must for must in always if must.id not in clause.over)]
    return next((str(c.argument) for each in binding for c in each.checks if c.name == "language"), "")


def _copies_of(spec: Spec) -> Callable[[str], bool]:
    """Whether a reply takes a run of words from the spec, or is one of its good examples from end to end."""
    spec_text = recitation_of(spec, _COPIED_WORDS)
    examples = {_spoken(example.reply) for clause in spec.clauses for example in clause.good}
    return lambda reply: spec_text.found(reply) is not None or _spoken(reply) in examples


def _spoken(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in words(text))


async def _assess(
    job: Job, cast: Cast, clause: Clause, scenario: Scenario, sample: Sample, is_copied: Callable[[str], bool]
) -> tuple[str | None, float, tuple[Verdict, ...]]:
    """Why a draw may not become a row (None if it may), the judge's odds, and the verdicts."""
    if sample.finish_reason != "stop":
        return (REFUSED if sample.refusal else "cut off"), 0.0, ()
    reply, languages = sample.text, _languages_of(clause, job, scenario)
    if languages and language_of(reply) not in languages:
        return f"{clause.id}: {ANOTHER_LANGUAGE}", 0.0, ()
    if is_copied(reply):
        return f"{clause.id}: copies the spec", 0.0, ()
    if scenario.family.contrast:
        rejection, verdicts = await _assess_contrast(cast.assessor, clause, scenario, reply)
        return (f"{clause.id}: contrast: {rejection}" if rejection else None), 0.0, verdicts
    found = await cast.assessor.assess_row(clause, scenario.prompt, reply)
    return (f"{clause.id}: {found.rejection}" if found.rejection else None), found.odds or 0.0, found.verdicts


async def _assess_contrast(
    assessor: Assessor, clause: Clause, scenario: Scenario, reply: str
) -> tuple[str | None, tuple[Verdict, ...]]:
    """Why a reply to a message that doesn't call on the clause may not become a row, and the verdicts."""
    if degenerate_reason(scenario.prompt, reply) is not None:
        return "hollow", ()
    applied, verdicts = await assessor.applies_clause(clause, scenario.prompt, reply)
    if applied is not False:
        return ("unscored" if applied is None else "applied all the same"), verdicts
    broken = await assessor.broken_musts(scenario.prompt, reply)
    return (f"breaks {broken[0]}" if broken else None), verdicts


def demonstration_prompt(job: Job, clause: Clause, shown: Frame, scenario: Scenario) -> Conversation:
    """The teacher's prompt: the frame as system message, the scenario's message as it is.

    Between them stand the examples that have a message, as turns: a small teacher follows what it seems to have said.
    """
    contrast = scenario.family.contrast
    alone = [example.reply for example in clause.good if not example.message][:_EXAMPLES]
    examples = "".join(f"\n- {reply}" for reply in alone)
    if examples:
        examples = f"Replies to other messages, for the manner only; none of their words fit here:{examples}\n"
    asked = wording("contrast_demonstration" if contrast else "demonstration").fill(
        trusted={
            "frame": shown.text,
            "clause": clause.text,
            "examples": examples,
            "language": _asked_language(clause, job.spec, contrast),
            "message": scenario.prompt.last_user,
        }
    )
    system, message = asked.messages
    turns: list[Message] = []
    for example in [] if contrast else [e for e in clause.good if e.message][:_EXAMPLES]:
        turns += [Message("user", example.message), Message("assistant", example.reply)]
    return Conversation((system, *turns, message))
