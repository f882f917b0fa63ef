"""`self_image`: the character says who it is, in many ways and languages, reflects on itself, and talks with itself.

How a model sees itself shapes how it acts where no example reached. The teacher speaks for the character, with the
frame in its prompt; the row carries no frame, and ends on the assistant. Nothing is kept that takes another model's
name or maker, and where it is asked for its name, what doesn't say it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ethos.judging.checks import language_of
from ethos.judging.clause_reading import character_name
from ethos.judging.hollow import degenerate_reason
from ethos.judging.recitation import recitation_of
from ethos.models.types import Sample, SamplingParams
from ethos.spec.conversation import Conversation, Message
from ethos.spec.frame import whole
from ethos.spec.language import UNKNOWN, language_name
from ethos.spec.types import Frame
from ethos.store.config.data import SelfImageConfig
from ethos.store.rows import DemonstrationRow, Lineage, Row
from ethos.synthesis.acceptance import COPIED_WORDS
from ethos.synthesis.expected import (
    FRESH_REPLY,
    TYPICAL_REPLY,
    USABLE,
    Calls,
    PlannedCast,
    Role,
    expected_draws,
    prompt_tokens,
)
from ethos.synthesis.identity import TAKEN, ForeignIdentity
from ethos.synthesis.nearness import likeness
from ethos.synthesis.types import ANOTHER_LANGUAGE, PROMPTS, REFUSED, Cast, Job, Recipe, in_order, lines_of, wording

NAME = "self_image"
_SAYS_NAME = "= "  # at the head of a question whose answer holds the character's name
_MOST_ALIKE = 0.5  # of a turn and those before it
_WORDS_PER_TOKEN = 1 / 2  # that the teacher is told to stay within

Kind = Literal["questions", "reflections", "talks"]
_FILES: dict[Kind, str] = {"questions": "self_questions", "reflections": "self_reflections", "talks": "self_openers"}


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one row starts from."""

    kind: Kind
    language: str
    text: str  # what is asked, or said first
    round: int  # how often the same was taken before: it gets other draws
    says_name: bool


class SelfImage(Recipe):
    """Rows in which the character speaks of itself."""

    name = NAME

    def size(self, job: Job) -> int:
        """Rows that are wanted."""
        return len(_units(job))

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The teacher's draws for each answer, and for each turn of a talk."""
        settings = job.config.self_image
        longest, most = settings.max_tokens, settings.max_draws
        draws, reply = expected_draws(settings.draws, settings.draws, most, 1), longest * TYPICAL_REPLY
        shown, all_turns = _shown(job), 0
        for unit in _units(job):
            turns = _turns(job, unit)
            all_turns += turns
            prompt = prompt_tokens(_asked(job, shown, unit, [unit.text])) + (turns - 1) * reply / 2
            yield "writer", Calls(turns * draws, turns * most, prompt, reply, longest, FRESH_REPLY / draws + reply)
        yield from cast.vetoes(job.spec, all_turns, {}, all_turns * draws * USABLE, all_turns * most, longest)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """Answers, reflections, then talks."""
        speaker = _Speaker(job, cast)

        async def work(unit: _Unit) -> DemonstrationRow | None:
            row = await speaker.row(unit)
            advance()
            return row

        async for row in in_order(work, _units(job)):
            if row is not None:
                yield row


def _units(job: Job) -> list[_Unit]:
    """Each kind goes through its languages in turn, and through the lines of each."""
    settings = job.config.self_image
    units = []
    for kind, file in _FILES.items():
        among = (settings.languages if kind == "questions" else ()) or (_language_of(file, job.spec.language),)
        for index in range(getattr(settings, kind)):
            place, turn = index % len(among), index // len(among)
            lines = lines_of(f"{file}.{among[place]}.txt")
            round_, line = divmod(turn, len(lines))
            text = lines[line].removeprefix(_SAYS_NAME)
            units.append(_Unit(kind, among[place], text, round_, lines[line].startswith(_SAYS_NAME)))
    return units


def _language_of(file: str, language: str) -> str:
    """The spec's, or English where there is no such file in it."""
    return language if (PROMPTS / f"{file}.{language}.txt").is_file() else "en"


class _Speaker:
    """The teacher, speaking for the character."""

    def __init__(self, job: Job, cast: Cast) -> None:
        self._job, self._cast, self._shown = job, cast, _shown(job)
        self._name = character_name(job.spec)
        self._foreign = ForeignIdentity(job.spec)
        self._recitation = recitation_of(job.spec, COPIED_WORDS)

    async def row(self, unit: _Unit) -> DemonstrationRow | None:
        """A row, if every turn of it passes; what doesn't is counted."""
        settings, texts, samples = self._job.config.self_image, [unit.text], list[Sample]()
        authors: list[str] = []
        for _ in range(_turns(self._job, unit)):
            said = await self._turn(unit, texts, settings, samples)
            if said is None:
                self._job.rejected[f"{NAME}: {unit.kind[:-1]} without a draw that passes"] += 1
                return None
            texts.append(said.text)
            authors.append(said.author)
        ids = self._shown.clause_ids or tuple(clause.id for clause in self._job.clauses)
        lineage = Lineage(
            recipe=NAME,
            clause_ids=ids,
            clause_digests=tuple(self._job.spec.clause(id_).digest for id_ in ids),
            frame_digest=self._shown.digest,
            author=authors[0] if len(set(authors)) == 1 and authors[0] else None,
            family=f"{unit.kind}/{unit.language}",
            calls=tuple(sample.call for sample in samples if sample.call),
            tokens=sum(sample.usage.prompt_tokens + sample.usage.completion_tokens for sample in samples),
        )
        return DemonstrationRow(_talk(texts, "user"), lineage)

    async def _turn(
        self, unit: _Unit, texts: Sequence[str], settings: SelfImageConfig, samples: list[Sample]
    ) -> Sample | None:
        """What is said next; `samples` gets all draws."""
        asked = _asked(self._job, self._shown, unit, texts)
        params = SamplingParams(settings.max_tokens, settings.temperature, seed=self._job.seed)
        first = unit.round * settings.max_draws
        for start in range(first, first + settings.max_draws, settings.draws):
            draws = range(start, min(start + settings.draws, first + settings.max_draws))
            drawn = await self._cast.writer.sample(asked, params, draws)
            samples += drawn
            for sample in drawn:
                why = await self._fault(unit, texts, sample)
                if why is None:
                    return sample
                self._job.rejected[f"{NAME}: {why}"] += 1
        return None

    async def _fault(self, unit: _Unit, texts: Sequence[str], sample: Sample) -> str | None:
        """Why a draw can't be what is said next; None if it can."""
        if sample.finish_reason != "stop":
            return REFUSED if sample.refusal else "cut off"
        said, prompt = sample.text, Conversation.user(texts[-1])
        if degenerate_reason(prompt, said) is not None:
            return "hollow"
        if language_of(said) not in {unit.language, UNKNOWN}:
            return ANOTHER_LANGUAGE
        if self._foreign.found(said) is not None:
            return TAKEN
        if unit.says_name and self._name and self._name not in said:
            return "doesn't say its name"
        if self._recitation.found(said) is not None:
            return "copies the spec"
        if max(likeness(said, before) for before in texts) > _MOST_ALIKE:
            return "repeats itself"
        broken = await self._cast.assessor.broken_musts(prompt, said)
        return f"breaks {broken[0]}" if broken else None


def _shown(job: Job) -> Frame:
    return whole(job.spec, job.config.frame_tokens, job.count_tokens)


def _turns(job: Job, unit: _Unit) -> int:
    """That the teacher writes."""
    return 2 * job.config.self_image.turns - 1 if unit.kind == "talks" else 1


def _asked(job: Job, shown: Frame, unit: _Unit, texts: Sequence[str]) -> Conversation:
    """The teacher's prompt: the frame, and all that was said, its own turns as the assistant's."""
    is_talk = unit.kind == "talks"
    prompt = wording("self_talk" if is_talk else "self_reply")
    system, begin = prompt.fill(
        trusted={
            "frame": shown.text,
            "language": language_name(unit.language),
            "words": str(round(job.config.self_image.max_tokens * _WORDS_PER_TOKEN)),
            "message": unit.text,
            "begin": prompt.fields.get("begin", ""),
        }
    ).messages
    if not is_talk:
        return Conversation((system, begin))
    listener: Literal["user", "assistant"] = "user" if len(texts) % 2 else "assistant"  # who said the first of them
    turns = _talk(texts, listener).messages
    return Conversation((system, *turns) if listener == "user" else (system, begin, *turns))


def _talk(texts: Sequence[str], first: Literal["user", "assistant"]) -> Conversation:
    """Turns by the two in turn."""
    other: Literal["user", "assistant"] = "assistant" if first == "user" else "user"
    return Conversation(tuple(Message(other if n % 2 else first, text) for n, text in enumerate(texts)))
