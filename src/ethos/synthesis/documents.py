"""`documents`: the spec's own text, and documents by the teacher that show the character and say why it is so.

Which form a document takes and which clause it is about goes in turn, so that both are spread evenly. One that is cut
off ends at its last whole sentence; those that hold a placeholder or speak of being written are not kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from ethos.models.types import SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.frame import frame
from ethos.spec.language import UNKNOWN, as_many_words, detect_language, language_name, sentences, words
from ethos.spec.types import Clause, Frame
from ethos.store.config.data import SynthesisConfig
from ethos.store.rows import DocumentRow, Lineage, Row
from ethos.synthesis.expected import FRESH_DOCUMENT, TYPICAL_PROBE, Calls, PlannedCast, Role, prompt_tokens
from ethos.synthesis.identity import TAKEN, ForeignIdentity
from ethos.synthesis.types import (
    ANOTHER_LANGUAGE,
    REFUSED,
    Cast,
    Job,
    Recipe,
    in_order,
    lines_of,
    patterns_of,
    wording,
)

SPEC_TEXT = "spec_text"
"""The recipe of rows that are the spec's own text."""

_FEWEST_WORDS = 40
_REPEATED_WORDS = 5  # in a row; a text with too few distinct ones repeats itself


class Documents(Recipe):
    """Rows of plain text."""

    name = "documents"

    def written_objectives(self, settings: SynthesisConfig) -> tuple[str, ...]:
        """That of its name."""
        return (self.name,)

    def size(self, job: Job) -> int:
        """Documents asked of the teacher."""
        return job.config.documents.count

    def expected(self, job: Job, cast: PlannedCast) -> Iterator[tuple[Role, Calls]]:
        """The teacher's documents, about each clause in turn."""
        settings = job.config.documents
        reply = settings.max_tokens * TYPICAL_PROBE
        for place, clause in enumerate(job.clauses):
            count = len(range(place, settings.count, len(job.clauses)))
            shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
            prompt = prompt_tokens(document_prompt(job, clause, shown, "a page"))
            yield "writer", Calls(count, count, prompt, reply, settings.max_tokens, FRESH_DOCUMENT + reply)

    async def rows(self, job: Job, cast: Cast, advance: Callable[[], None]) -> AsyncIterator[Row]:
        """The spec's text, a clause a row; then one document for each that passes."""
        if job.config.documents.spec_text:
            for row in spec_rows(job):
                yield row
        forms = lines_of("document_forms.txt")

        async def work(index: int) -> Row | None:
            round_, place = divmod(index, len(job.clauses))  # in each round every clause has the next form
            row = await _document(job, cast, job.clauses[place], forms[(round_ + place) % len(forms)], index)
            advance()
            return row

        async for made in in_order(work, range(job.config.documents.count)):
            if made is not None:
                yield made


def spec_rows(job: Job) -> list[DocumentRow]:
    """The spec's own text: the preamble, and each clause that is worked on with its heading and its reasons."""
    rows = []
    if job.spec.preamble:
        lineage = Lineage(SPEC_TEXT, tuple(c.id for c in job.clauses), tuple(c.digest for c in job.clauses))
        title = f"{job.spec.name}\n\n" if job.spec.is_titled else ""
        rows.append(DocumentRow(f"{title}{job.spec.preamble}", job.spec.name, lineage))
    for clause in job.clauses:
        text = "\n\n".join(
            part for part in (clause.heading[-1] if clause.heading else "", clause.text, clause.reason) if part
        )
        lineage = Lineage(SPEC_TEXT, (clause.id,), (clause.digest,))
        rows.append(DocumentRow(text, clause.heading[-1] if clause.heading else clause.id, lineage))
    return rows


async def _document(job: Job, cast: Cast, clause: Clause, form: str, index: int) -> Row | None:
    settings = job.config.documents
    shown = frame(job.spec, [clause.id], job.config.frame_tokens, job.count_tokens)
    asked = document_prompt(job, clause, shown, form)
    params = SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=job.seed)
    [sample] = await cast.writer.sample(asked, params, (index,))
    text = sample.text if sample.finish_reason == "stop" else whole_sentences(sample.text)
    reason = REFUSED if sample.refusal else fault(text, job.spec.language)
    if reason is None and ForeignIdentity(job.spec).found(text) is not None:
        reason = TAKEN
    if reason is not None:
        job.rejected[f"document: {reason}"] += 1
        return None
    lineage = Lineage(
        recipe="documents",
        clause_ids=(clause.id,),
        clause_digests=(clause.digest,),
        frame_digest=shown.digest,
        author=sample.author or None,
        calls=(sample.call,),
        tokens=sample.usage.prompt_tokens + sample.usage.completion_tokens,
    )
    return DocumentRow(text, form, lineage)


def document_prompt(job: Job, clause: Clause, shown: Frame, form: str) -> Conversation:
    """The teacher's prompt for a document of that form."""
    return wording("document").fill(
        trusted={
            "frame": shown.text,
            "clause": clause.text,
            "reason": clause.reason,
            "form": form,
            "words": str(job.config.documents.max_tokens // 2),
            "language": language_name(job.spec.language),
        }
    )


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last whole sentence."""
    pieces = sentences(text)
    return text[: text.rindex(pieces[-1])].rstrip() if len(pieces) > 1 else ""


def fault(text: str, language: str) -> str | None:
    """Why a document of a spec in that language can't be trained on, or None."""
    if len(words(text)) < _FEWEST_WORDS:
        return "too short"
    if patterns_of("meta").search(text):
        return "placeholder or talk about itself"
    if detect_language(text) not in {language, UNKNOWN}:
        return ANOTHER_LANGUAGE
    spoken = [word.casefold() for word in words(text)]
    size = as_many_words(_REPEATED_WORDS, spoken)
    runs = list(zip(*(spoken[start:] for start in range(size)), strict=False))
    return "repeats itself" if len(set(runs)) < 0.8 * len(runs) else None
