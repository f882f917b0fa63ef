"""Rows of a user's own: JSON Lines, one row a line, with errors that name the line.

    {"kind": "document", "text": "…", "title": "…"}
    {"kind": "demonstration", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"kind": "preference", "prompt": "…", "chosen": "…", "rejected": "…", "probability": 0.9, "margin": 0}
    {"kind": "task", "prompt": "…", "answer": "…"}

A prompt is one message's text or a list of messages. `clauses` names the clauses that a row is of; without it the file
is its source.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation, Message
from ethos.spec.types import Spec
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, PreferenceRow, Row, TaskRow

RECIPE = "written"


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    clauses: tuple[str, ...] = ()


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str


def _as_messages(given: Any) -> Any:
    """A text alone is what the user says."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


_Prompt = Annotated[tuple[_Message, ...], BeforeValidator(_as_messages), Field(min_length=1)]


class _Document(_Line):
    kind: Literal["document"]
    text: Annotated[str, Field(min_length=1)]
    title: str = ""


class _Demonstration(_Line):
    kind: Literal["demonstration"]
    messages: Annotated[tuple[_Message, ...], Field(min_length=1)]


class _Preference(_Line):
    kind: Literal["preference"]
    prompt: _Prompt
    chosen: str
    rejected: str
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    margin: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class _Task(_Line):
    kind: Literal["task"]
    prompt: _Prompt
    answer: Annotated[str, Field(pattern=r"\S")] | None = None


_LINES: TypeAdapter[Any] = TypeAdapter(
    Annotated[_Document | _Demonstration | _Preference | _Task, Field(discriminator="kind")]
)


def load_written_rows(paths: Sequence[Path], spec: Spec) -> list[Row]:
    """The rows of all files, in order, each once.

    Raises:
        EthosError: if a file can't be read or holds no row, or a line is no row or names a clause that the spec hasn't.
    """
    rows: dict[str, Row] = {}
    for path in paths:
        found = _rows_of(path, spec)
        if not found:
            raise EthosError(f"{path}: holds no row; write one a line, or leave the file out of `rows`")
        rows |= {row.id: row for row in found}
    return list(rows.values())


def _rows_of(path: Path, spec: Spec) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EthosError(f"{path}: can't be read as text ({error}); name a JSON Lines file of rows") from error
    return [_row(text, f"{path}:{number}", path, spec) for number, text in enumerate(lines, start=1) if text.strip()]


def _row(text: str, where: str, path: Path, spec: Spec) -> Row:
    try:
        line = _LINES.validate_python(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise EthosError(f"{where}: not valid JSON ({error}); write one row a line") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "kind"
        raise EthosError(f"{where}: {field}: {first['msg']}; see docs/training.md for the forms of a row") from error
    digests = {clause.id: clause.digest for clause in spec.clauses}
    if unknown := next((id_ for id_ in line.clauses if id_ not in digests), None):
        known = ", ".join(digests)
        raise EthosError(f"{where}: there is no clause {unknown!r} in {spec.path.name}; use one of {known}")
    lineage = Lineage(
        RECIPE,
        line.clauses,
        tuple(digests[id_] for id_ in line.clauses),
        None if line.clauses else f"rows of {path.name}",
    )
    if isinstance(line, _Document):
        return DocumentRow(line.text, line.title or path.stem, lineage)
    if isinstance(line, _Demonstration):
        return DemonstrationRow(_conversation(line.messages), lineage)
    if isinstance(line, _Preference):
        compared = (line.chosen, line.rejected)
        return PreferenceRow(_conversation(line.prompt), *compared, lineage, line.probability, line.margin)
    return TaskRow(_conversation(line.prompt), lineage, line.answer)


def _conversation(given: Sequence[_Message]) -> Conversation:
    return Conversation(tuple(Message(message.role, message.content) for message in given))
