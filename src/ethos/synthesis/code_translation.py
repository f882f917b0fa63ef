"""`code_translation`: Python functions as programs of another language, proven by running both.

Published for Llama 3 (Dubey et al. 2024, section 4.3.1): the teacher translates, and what is parsed, runs and passes
is kept. Here the function itself says what is right: it is run on generated inputs (`translation/oracles.py`), and a
program passes if it returns the same for all of them. While too few have passed, each program that failed is shown
why, and mended once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.judging.types import Verdict
from ethos.models.types import Sample, SamplingParams
from ethos.sandbox.bubblewrap import Sandbox
from ethos.sandbox.languages import LANGUAGES
from ethos.sandbox.self_test import open_sandbox
from ethos.sandbox.types import Language
from ethos.spec.conversation import Conversation
from ethos.store.config.data import CodeTranslationConfig, SynthesisConfig
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.expected import TYPICAL_MESSAGE, TYPICAL_REPLY, USABLE, Calls, PlannedCast, Role, prompt_tokens
from ethos.synthesis.translation.candidates import program_in, rejection_of
from ethos.synthesis.translation.inputs import generate
from ethos.synthesis.translation.oracles import Oracle, Rejection, oracle_of
from ethos.synthesis.translation.references import Reference, digest_of, references_in
from ethos.synthesis.types import REFUSED, Cast, Job, Recipe, in_order, wording

NAME = "code_translation"
_LONGEST_DETAIL = 500  # tokens of why a program failed


@dataclass(frozen=True, slots=True)
class _Candidate:
    sample: Sample
    asked: Conversation
    program: str | None
    rejection: Rejection | None  # None: it passes


class CodeTranslation(Recipe):
    """Rejection sampling, with the sandbox for a judge."""

    name = NAME

    def __init__(self, references: Sequence[Reference], sandbox: Sandbox | None = None) -> None:
        """Of these functions; without a sandbox it opens its own."""
        self._references, self._opened = tuple(references), sandbox

    @property
    def given(self) -> tuple[str, str]:
        """The functions."""
        return "set of functions to translate", digest_of(self._references)

    async def make_ready(self, settings: SynthesisConfig) -> None:
        """Opens a sandbox, if there is a function to translate. Raises SandboxUnavailable."""
        if self._references and self._opened is None:
            self._opened = await open_sandbox(LANGUAGES[settings.code_translation.to])

    @property
    def _sandbox(self) -> Sandbox:
        assert self._opened is not None, "it was made ready"
        return self._opened

    def size(self, job: Job) -> int:
        """Functions."""
        return len(self._references)

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """Programs drawn for each function, and those that fail once more if too few pass."""
        settings = job.config.code_translation
        draws, longest = settings.draws, settings.max_tokens
        reply = longest * TYPICAL_REPLY
        few = [(n, math.comb(draws, n) * USABLE**n * (1 - USABLE) ** (draws - n)) for n in range(settings.kept)]
        mended = sum((draws - passing) * probability for passing, probability in few)
        for reference in self._references:
            asked = translation_prompt(reference, LANGUAGES[settings.to])
            prompt = prompt_tokens(asked)
            yield "writer", Calls(draws, draws, prompt, reply, longest, prompt / draws + reply)
            found = prompt_tokens(revision_prompt(asked, "", Rejection("returns something else", TYPICAL_MESSAGE)))
            yield "writer", Calls(mended, 0, found + reply, reply, longest, found + 2 * reply)
            yield "writer", Calls(0, draws, found + longest + _LONGEST_DETAIL, reply, longest, 0)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Up to `kept` rows for each function, of distinct programs that pass.

        Raises SandboxUnavailable.
        """

        async def work(reference: Reference) -> list[DemonstrationRow]:
            rows = await self._translate(job, cast, reference)
            advance()
            return rows

        async for rows in in_order(work, self._references):
            for row in rows:
                yield row

    async def _translate(self, job: Job, cast: Cast, reference: Reference) -> list[DemonstrationRow]:
        settings = job.config.code_translation
        oracle = await oracle_of(
            self._sandbox,
            reference,
            LANGUAGES[settings.to],
            job.seed,
            inputs=settings.inputs,
            coverage=settings.coverage,
            killed=settings.mutants_killed,
        )
        if isinstance(oracle, Rejection):
            job.rejected[f"{NAME}: {reference.name} is left out: {oracle.cause} ({oracle.detail})"] += 1
            return []
        asked = translation_prompt(reference, LANGUAGES[settings.to])
        params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)
        drawn = await cast.writer.sample(asked, params, range(settings.draws))
        found = await asyncio.gather(*(self._proven(sample, asked, oracle, settings) for sample in drawn))
        if len(_passing(found)) < settings.kept:
            found += await self._mended(cast, params, found, oracle, settings)
        for candidate in found:
            if candidate.rejection is not None:
                job.rejected[f"{NAME}: {candidate.rejection.cause}"] += 1
        passing = _passing(found)
        if not passing:
            job.rejected[f"{NAME}: function without a program that passes"] += 1
        return [_row(program, found, oracle, settings) for program in passing[: settings.kept]]

    async def _mended(
        self,
        cast: Cast,
        params: SamplingParams,
        found: Sequence[_Candidate],
        oracle: Oracle,
        settings: CodeTranslationConfig,
    ) -> list[_Candidate]:
        """Of each distinct program that failed, what the teacher makes of it once it is told why."""
        failed = {candidate.program: candidate for candidate in found if candidate.program and candidate.rejection}

        async def mend(candidate: _Candidate) -> _Candidate:
            assert candidate.rejection is not None, "it failed"
            asked = revision_prompt(candidate.asked, candidate.sample.text, candidate.rejection)
            (sample,) = await cast.writer.sample(asked, params, range(1))
            return await self._proven(sample, asked, oracle, settings)

        return list(await asyncio.gather(*map(mend, failed.values())))

    async def _proven(
        self, sample: Sample, asked: Conversation, oracle: Oracle, settings: CodeTranslationConfig
    ) -> _Candidate:
        program = program_in(sample.text, LANGUAGES[settings.to]) if sample.finish_reason == "stop" else None
        if program is not None:
            why = await rejection_of(self._sandbox, LANGUAGES[settings.to], program, oracle)
        elif sample.finish_reason != "stop":
            why = Rejection(REFUSED if sample.refusal else "cut off", "it isn't whole")
        else:
            why = Rejection("no program in the reply", "it holds no block of code")
        return _Candidate(sample, asked, program, why)


def functions_of(settings: CodeTranslationConfig) -> list[Reference]:
    """What a config gives to translate.

    Raises EthosError for a file that isn't Python, a function that can't be taken out of it or called by its
    annotations, two of one name, or a language that nothing runs.
    """
    others = [name for name in LANGUAGES if name != "python"]
    if settings.functions and settings.to not in others:
        raise EthosError(
            f"synthesis.code_translation.to: {settings.to!r} is no language to translate to here; name one of "
            f"{', '.join(others)}"
        )
    found = [reference for path in settings.functions for reference in references_in(path)]
    origins: dict[str, str] = {}
    for reference in found:
        if reference.name in origins:
            raise EthosError(
                f"{reference.origin}: {reference.name} is a function of {origins[reference.name]} too; rename one"
            )
        origins[reference.name] = reference.origin
        generate(reference, 1, 0)  # told now, not once the teacher has been paid
    return found


def translation_prompt(reference: Reference, to: Language) -> Conversation:
    """The teacher's prompt."""
    return wording("translation").fill(trusted={"language": to.title, "function": reference.source})


def revision_prompt(asked: Conversation, reply: str, why: Rejection) -> Conversation:
    """The same conversation, gone on with: what was wrong with the program, and the wish for another."""
    written = wording("translation_revision").fill(trusted={"cause": why.cause}, quoted={"detail": why.detail})
    return asked.then("assistant", reply).then("user", written.last_user)


def _passing(found: Sequence[_Candidate]) -> list[str]:
    """Distinct programs that pass, the shortest first; two that differ in white space alone are one."""
    passing = sorted((c.program for c in found if c.program and c.rejection is None), key=len, reverse=True)
    return sorted({" ".join(program.split()): program for program in passing}.values(), key=len)


def _row(
    program: str, found: Sequence[_Candidate], oracle: Oracle, settings: CodeTranslationConfig
) -> DemonstrationRow:
    """What a student is asked says nothing of how the teacher was."""
    reference, title = oracle.reference, LANGUAGES[settings.to].title
    asked = f"Translate this Python function to {title}, under the same name.\n\n```python\n{reference.source}\n```"
    evidence = (
        f"returns the same for {len(oracle.inputs)} inputs, which come by {oracle.coverage:.0%} of the function's "
        f"lines and find out {oracle.killed:.0%} of its changed forms"
    )
    lineage = Lineage(
        recipe=NAME,
        capability_source=f"Python functions translated to {title}, proven by running both",
        author=next(c.sample.author for c in found if c.program == program) or None,
        family=reference.name,
        calls=tuple(c.sample.call for c in found if c.sample.call),
        verdicts=(Verdict(1.0, evidence, f"sandbox: {settings.to}", "").to_dict(),),
        tokens=sum(c.sample.usage.prompt_tokens + c.sample.usage.completion_tokens for c in found),
    )
    return DemonstrationRow(Conversation.user(asked).then("assistant", f"```{settings.to}\n{program}\n```"), lineage)
