"""What comes out empty is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ethos.runs.preparation import missing_rows, sources_of
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
