"""Rows: one training example each, a type for each kind, all with one `Lineage`."""

from __future__ import annotations

import hashlib
import json
import math
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
    author: str | None = None  # the model that wrote it, where several did
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

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The text under its title."""
        return [(self.title, self.text)]


@dataclass(frozen=True, slots=True)
class DemonstrationRow:
    """A conversation that ends on the assistant; its reply is the target."""

    kind: ClassVar[str] = "demonstration"
    conversation: Conversation
    lineage: Lineage

    @property
    def text(self) -> str:
        """All that is said."""
        return _said(self.parts)

    @property
    def id(self) -> str:
        """Content hash, lineage apart."""
        return _row_id(self.kind, self.conversation.canonical())

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Who says what."""
        return _turns(self.conversation)


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """Two replies to a prompt, of which one is better with some probability."""

    kind: ClassVar[str] = "preference"
    prompt: Conversation
    chosen: str
    rejected: str
    lineage: Lineage
    probability: float = 1.0  # that `chosen` is the better one: a soft label
    margin: float = 0.0  # by how much a reward model should tell them apart at least

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a preference's probability is {self.probability}; give a number from 0 to 1")
        if not math.isfinite(self.margin):
            raise ValueError(f"a preference's margin is {self.margin}; give a finite number")

    @property
    def text(self) -> str:
        """All that is said."""
        return _said(self.parts)

    @property
    def id(self) -> str:
        """Content hash, lineage apart."""
        said = [self.prompt.canonical(), self.chosen, self.rejected, self.probability, self.margin]
        return _row_id(self.kind, json.dumps(said, ensure_ascii=False))

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Who says what, then the two replies."""
        return [*_turns(self.prompt), ("chosen", self.chosen), ("rejected", self.rejected)]


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A prompt that the policy answers itself: the reply is rewarded, or held against a teacher's distribution."""

    kind: ClassVar[str] = "task"
    prompt: Conversation
    lineage: Lineage
    answer: str | None = None  # what a reward may compare a reply with
    teacher_prompt: Conversation | None = None  # what a teacher sees in the prompt's place: the same with a frame

    @property
    def text(self) -> str:
        """All that is said."""
        return _said(self.parts)

    @property
    def id(self) -> str:
        """Content hash, lineage apart."""
        shown = None if self.teacher_prompt is None else self.teacher_prompt.canonical()
        return _row_id(self.kind, json.dumps([self.prompt.canonical(), self.answer, shown], ensure_ascii=False))

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Who says what, then the answer if there is one."""
        return [*_turns(self.prompt), *([("answer", self.answer)] if self.answer is not None else [])]


Row = DocumentRow | DemonstrationRow | PreferenceRow | TaskRow


def _turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


def _said(parts: list[tuple[str, str]]) -> str:
    return "\n\n".join(text for _, text in parts)


def _row_id(kind: str, content: str) -> str:
    return hashlib.sha256(f"{kind}\x1f{content}".encode()).hexdigest()[:16]


def row_to_dict(row: Row) -> dict[str, Any]:
    """A JSON-ready dict; `row_from_dict` is its inverse."""
    lineage = json.loads(json.dumps(asdict(row.lineage)))
    if row.lineage.author is None:  # rows of one teacher are written as they were before there could be several
        del lineage["author"]
    return {"id": row.id, "kind": row.kind, **row_content(row), "lineage": lineage}


def row_content(row: Row) -> dict[str, Any]:
    """What a row says, JSON-ready, by the names of its columns."""
    if isinstance(row, DocumentRow):
        return {"text": row.text, "title": row.title}
    if isinstance(row, DemonstrationRow):
        return {"messages": row.conversation.to_dicts()}
    if isinstance(row, PreferenceRow):
        compared = {"chosen": row.chosen, "rejected": row.rejected}
        return {"prompt": row.prompt.to_dicts(), **compared, "probability": row.probability, "margin": row.margin}
    shown = None if row.teacher_prompt is None else row.teacher_prompt.to_dicts()
    return {"prompt": row.prompt.to_dicts(), "answer": row.answer, "teacher_prompt": shown}


def row_from_dict(data: dict[str, Any]) -> Row:
    """Builds the row that `row_to_dict` described."""
    fields = dict(data["lineage"])
    for name in ("clause_ids", "clause_digests", "calls", "verdicts"):
        fields[name] = tuple(fields[name])
    lineage = Lineage(**fields)
    if data["kind"] == DocumentRow.kind:
        return DocumentRow(data["text"], data["title"], lineage)
    if data["kind"] == DemonstrationRow.kind:
        return DemonstrationRow(Conversation.from_dicts(data["messages"]), lineage)
    prompt = Conversation.from_dicts(data["prompt"])
    if data["kind"] == PreferenceRow.kind:
        compared = (data["chosen"], data["rejected"])
        return PreferenceRow(prompt, *compared, lineage, data["probability"], data["margin"])
    shown = None if data["teacher_prompt"] is None else Conversation.from_dicts(data["teacher_prompt"])
    return TaskRow(prompt, lineage, data["answer"], shown)
