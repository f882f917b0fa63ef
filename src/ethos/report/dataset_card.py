"""The card of a data set: what is in it, who wrote it, what was turned down, and what it cost.

Its head is what the Hugging Face hub and `datasets` read: a configuration for each kind of row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

PRIVATE = "a private model"


@dataclass(frozen=True, slots=True)
class Author:
    """A model that had a part in the rows. Only the name of one that anybody can have is told."""

    role: str
    name: str | None
    licence: str | None = None  # None: see there


@dataclass(frozen=True, slots=True)
class Spent:
    """What one role took."""

    role: str
    calls: int
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card tells."""

    name: str
    version: str  # of this program
    files: Mapping[str, int]  # rows by configuration; each is a file of that name
    recipes: Mapping[str, Mapping[str, int]]  # rows by configuration and recipe
    sources: Mapping[str, int]  # rows by clause or capability source
    authors: Sequence[Author]
    rejected: Mapping[str, int]
    spent: Sequence[Spent]
    system_message: str


COLUMNS = {
    "documents": "`text`, `title`: plain text, for next-token training",
    "demonstrations": "`messages`: a conversation that ends on the assistant, for supervised fine-tuning",
    "preferences": "`prompt`, `chosen`, `rejected`: turns, for preference training or a reward model; `probability` "
    "that `chosen` is the better one, and the `margin` between them",
    "tasks": "`prompt`, `answer`: what a policy answers itself, and what a reward may compare it with",
}
LINEAGE = (
    "`id`, a hash of the content; `recipe`; `clause_ids`, or `capability_source` where a row comes from no clause; "
    "`contrast`, whether it shows where the clause does not apply; `family` (topic and context); `frame_digest`, of "
    "the part of the spec that its writer saw; `author`, the model that wrote it, where several did; `verdicts` of "
    "checks and judges; `tokens` spent on it, what was rejected on the way included"
)


def dataset_card(facts: CardFacts) -> str:
    """The card as Markdown, with its YAML head."""
    head = {
        "pretty_name": facts.name,
        "tags": ["synthetic", "ethos"],
        "configs": [{"config_name": name, "data_files": f"{name}.parquet"} for name in facts.files],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {facts.name}",
        f"{sum(facts.files.values()):,} rows that ethos {facts.version} made from a written spec of a character. "
        "Opened with `datasets.load_dataset(folder, name)`, where `name` is one of these:",
        _table(
            ("name", "rows", "columns"), [(name, f"{count:,}", COLUMNS[name]) for name, count in facts.files.items()]
        ),
        f"Rows of the recipes hold no system message; {facts.system_message}",
        f"Every row also has {LINEAGE}.",
        "## Where the rows come from",
        _table(
            ("name", "recipe", "rows"),
            [
                (name, recipe, f"{count:,}")
                for name, recipes in facts.recipes.items()
                for recipe, count in recipes.items()
            ],
        ),
        _table(("clause or source", "rows"), [(source, f"{count:,}") for source, count in facts.sources.items()]),
        "## Models",
        _table(
            ("role", "model", "licence"),
            [(a.role, a.name or PRIVATE, a.licence or ("see there" if a.name else "not told")) for a in facts.authors],
        ),
        "## What was turned down",
        _table(("reason", "times"), [(reason, f"{count:,}") for reason, count in facts.rejected.items()])
        if facts.rejected
        else "Nothing.",
        "## Cost",
        _table(
            ("role", "calls", "tokens", "USD"),
            [(spent.role, f"{spent.calls:,}", f"{spent.tokens:,}", f"{spent.usd:.2f}") for spent in facts.spent],
        ),
        "Of the whole run, its training and measuring included; answers that were there from an earlier run cost "
        "nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
