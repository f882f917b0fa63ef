"""Rows: one training example each, a type for each kind, all with one `Lineage`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ethos.spec.conversation import Conversation
from ethos.spec.types import Json


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row came from. Either clauses or a capability source is named; a row with neither is refused."""

    recipe: str
    clause_ids: tuple[str, ...] = ()
    clause_digests: tuple[str, ...] = ()
    capability_source: str | None = None
    frame_digest: str | None = None
    family: str | None = None
    pool: str | None = None
    contrast: bool = False  # whether it shows where the clause does not apply
    calls: tuple[str, ...] = ()  # keys of the response cache, in the order they were made
    verdicts: tuple[Json, ...] = ()  # what judges and checks said, as dicts
    tokens: int = 0  # prompt and completion tokens spent on it, rejected draws included

    def __post_init__(self) -> None:
        if not self.clause_ids and self.capability_source is None:
            raise ValueError("a row names the clause it came from, or its capability source")


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A whole document; every token is a target."""

    kind: ClassVar[str] = "document"
    text: str
    title: str
    lineage: Lineage

    @property
    def id(self) -> str:
        """Content hash, lineage apart."""
        return _row_id(self.kind, self.text)


@dataclass(frozen=True, slots=True)
class DemonstrationRow:
    """A conversation that ends on the assistant; its reply is the target."""

    kind: ClassVar[str] = "demonstration"
    conversation: Conversation
    lineage: Lineage

    @property
    def text(self) -> str:
        """All that is said."""
        return "\n\n".join(message.content for message in self.conversation.messages)

    @property
    def id(self) -> str:
        """Content hash, lineage apart."""
        return _row_id(self.kind, self.conversation.canonical())


Row = DocumentRow | DemonstrationRow


def _row_id(kind: str, content: str) -> str:
    return hashlib.sha256(f"{kind}\x1f{content}".encode()).hexdigest()[:16]


def row_to_dict(row: Row) -> dict[str, Any]:
    """A JSON-ready dict; `row_from_dict` is its inverse."""
    content = (
        {"text": row.text, "title": row.title}
        if isinstance(row, DocumentRow)
        else {"messages": row.conversation.to_dicts()}
    )
    return {"id": row.id, "kind": row.kind, **content, "lineage": json.loads(json.dumps(asdict(row.lineage)))}


def row_from_dict(data: dict[str, Any]) -> Row:
    """Builds the row that `row_to_dict` described."""
    fields = dict(data["lineage"])
    for name in ("clause_ids", "clause_digests", "calls", "verdicts"):
        fields[name] = tuple(fields[name])
    lineage = Lineage(**fields)
    if data["kind"] == DocumentRow.kind:
        return DocumentRow(data["text"], data["title"], lineage)
    return DemonstrationRow(Conversation.from_dicts(data["messages"]), lineage)
