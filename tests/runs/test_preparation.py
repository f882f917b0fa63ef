"""What comes out empty is said, and what calibration measures on is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ethos.judging.clause_reading import ClauseReading
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.runs.preparation import labelled_replies, missing_rows, sources_of
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_text
from ethos.spec.scenarios import Family, Scenario
from ethos.store.config_sections import SynthesisConfig
from ethos.store.rows import DemonstrationRow, Lineage
from ethos.synthesis.types import Job

SPEC = parse_text(
    "# Wren\n\n## Name {#name}\n\nIt says its name.\n\n```ethos\nchecks: {must_match: Wren}\n```\n\n"
    "## Short {#short}\n\nIt keeps it short.\n\n```ethos\nchecks: {max_words: 20}\n```\n",
    "Wren",
    Path("s.md"),
)


def job() -> Job:
    asked = Conversation.user("Who are you, please?")
    scenarios = tuple(Scenario(Family(c.id, "a lamp", "chat", "train"), asked) for c in SPEC.clauses)
    return Job(SPEC, SPEC.clauses, scenarios, SynthesisConfig(), 0, len)


def row(recipe: str, clause_id: str) -> DemonstrationRow:
    return DemonstrationRow(
        Conversation.user("Hi").then("assistant", f"{recipe} {clause_id}"), Lineage(recipe, (clause_id,))
    )


def test_a_recipe_and_a_clause_without_a_row_are_named() -> None:
    found = missing_rows(job(), [row("demonstrations", "name"), row("documents", "short")])
    assert [warning.split(":")[0] for warning in found] == ["replay", "clause short"]


def test_a_contrast_is_no_demonstration_of_its_clause() -> None:
    rows = [row(recipe, "name") for recipe in ("documents", "demonstrations", "replay")]
    contrast = row("demonstrations", "short")
    contrast = replace(contrast, lineage=replace(contrast.lineage, contrast=True))
    [warning] = missing_rows(job(), [*rows, contrast])
    assert warning.startswith("clause short: not one demonstration was kept")
    assert sources_of([*rows, contrast]) == {"name": 3, "short, contrast": 1}


def test_nothing_is_said_where_nothing_is_missing() -> None:
    rows = [row(recipe, id_) for recipe in ("documents", "demonstrations", "replay") for id_ in ("name", "short")]
    assert missing_rows(job(), rows) == []


class Moody:
    """Refuses its first draw of all, and answers it ever after."""

    name, fingerprint = "moody", "moody"
    refused = False

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        samples = [Sample(f"It {prompt.digest()[:6]} {draw}.", "stop", Usage(1, 1), draw) for draw in draws]
        if not self.refused:
            self.refused = True
            samples[0] = Sample("", "refused", Usage(0, 0), draws[0], refusal="moody: not that")
        return samples


def test_what_an_endpoint_answers_later_changes_no_labelled_reply(session: Session) -> None:
    spec = parse_text("# Wren\n\n## Short {#short}\n\nIt keeps it short.\n", "Wren", Path("s.md"))
    clause_id = spec.clauses[0].id
    family = Family(clause_id, "a lamp", "chat", "train")
    scenarios = [Scenario(family, Conversation.user(f"Is it the {n}th?")) for n in range(6)]
    teacher = Moody()

    def found() -> object:
        readings = {clause_id: ClauseReading("", ("Is it short?",))}
        judged = replace(session, spec=spec)
        return asyncio.run(labelled_replies(judged, spec.clauses, readings, scenarios, teacher))

    first = found()
    assert teacher.refused
    assert found() == first
