"""`demonstrations`: the teacher answers train scenarios with the frame in its prompt; the row carries no frame.

A few draws a scenario, and more while fewer pass than are to be kept. A reply is in the spec's language or in its
message's. Checks come before the judge, as they are free; of those that pass, the ones with the best odds are kept, the
shortest where there are none. Contrast scenarios give rows in which the clause is not applied.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict

from ethos.models.types import Sample, SamplingParams
from ethos.spec.conversation import Conversation, Message
from ethos.spec.frame import frame
from ethos.spec.language import language_name
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Frame, Spec
from ethos.store.config.data import SynthesisConfig
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.acceptance import Acceptance, Found, declared_language, named_languages
from ethos.synthesis.expected import (
    FRESH_REPLY,
    TYPICAL_REPLY,
    USABLE,
    Calls,
    PlannedCast,
    Role,
    expected_draws,
    prompt_tokens,
    rubric_calls,
)
from ethos.synthesis.types import Cast, Job, Recipe, in_order, wording

_EXAMPLES = 4  # shown to the teacher


class Demonstrations(Recipe):
    """Rejection sampling over a few draws."""

    name = "demonstrations"

    def written_objectives(self, settings: SynthesisConfig) -> tuple[str, ...]:
        """That of its name."""
        return (self.name,)

    def size(self, job: Job) -> int:
        """Scenarios."""
        return len(job.scenarios)

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The teacher's draws, a verdict on each that can be used, and what its `must` clauses take."""
        settings = job.config.demonstrations
        longest, most = settings.max_tokens, settings.max_draws
        draws = expected_draws(settings.draws, settings.draws, most, settings.kept)
        reply = longest * TYPICAL_REPLY
        alike = Counter((s.clause_id, s.family.contrast) for s in job.scenarios)
        first = {(s.clause_id, s.family.contrast): s for s in reversed(job.scenarios)}
        for (clause_id, contrast), count in alike.items():
            clause = job.spec.clause(clause_id)
            shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
            prompt = prompt_tokens(demonstration_prompt(job, clause, shown, first[clause_id, contrast]))
            yield "writer", Calls(count * draws, count * most, prompt, reply, longest, FRESH_REPLY / draws + reply)
            if clause.judged:
                judged, at_most = count * draws * USABLE, count * most
                yield "judge", rubric_calls(cast.judge, "rubric", job.spec, clause, judged, at_most, longest)
        rows, own = len(job.scenarios), {clause_id: alike[clause_id, False] for clause_id, _ in alike}
        yield from cast.vetoes(job.spec, rows, own, rows * draws * USABLE, rows * most, longest)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Up to `kept` rows for each scenario, of distinct draws that pass."""
        acceptance = Acceptance(job.spec, cast.assessor)

        async def work(scenario: Scenario) -> list[DemonstrationRow]:
            rows = await _demonstrate(job, cast, scenario, acceptance)
            advance()
            return rows

        async for rows in in_order(work, job.scenarios):
            for row in rows:
                yield row


async def _demonstrate(job: Job, cast: Cast, scenario: Scenario, acceptance: Acceptance) -> list[DemonstrationRow]:
    clause = job.spec.clause(scenario.clause_id)
    shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
    settings = job.config.demonstrations
    params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)
    asked = demonstration_prompt(job, clause, shown, scenario)
    samples: list[Sample] = []
    passing: list[tuple[Sample, Found]] = []
    while len({sample.text for sample, _ in passing}) < settings.kept and len(samples) < settings.max_draws:
        draws = range(len(samples), min(len(samples) + settings.draws, settings.max_draws))
        drawn = await cast.writer.sample(asked, params, draws)
        samples += drawn
        looked_at = await asyncio.gather(*(acceptance.look(scenario, sample) for sample in drawn))
        for sample, found in zip(drawn, looked_at, strict=True):
            if found.rejection is not None:
                job.rejected[found.rejection] += 1
            else:
                passing.append((sample, found))
        if all(sample.refusal for sample in drawn):
            break  # it is the prompt that is refused, so no other draw will pass
    if not passing:
        job.rejected["scenario without a passing draw"] += 1
    best_first = sorted(passing, key=lambda passed: (-(passed[1].odds or 0.0), len(passed[0].text)))
    distinct = {sample.text: (sample, found.verdicts) for sample, found in best_first}
    return [
        DemonstrationRow(
            scenario.prompt.then("assistant", sample.text),
            Lineage(
                recipe="demonstrations",
                clause_ids=(clause.id,),
                clause_digests=(clause.digest,),
                frame_digest=shown.digest,
                author=sample.author or None,
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


def _asked_language(clause: Clause, spec: Spec, contrast: bool) -> str:
    """What the teacher is told to write in: the language that is declared, or else the spec's."""
    declared = declared_language(clause, spec, contrast)
    if declared:
        return "the language of the message" if declared == "prompt" else language_name(declared)
    others = set() if contrast else named_languages(clause) - {spec.language}
    return language_name(spec.language) + (", unless the above asks for another language" if others else "")


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
