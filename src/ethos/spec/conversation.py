"""A conversation: what every prompt, row and probe is made of, hashed the same way everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order. As a prompt it ends before the assistant's reply; as a row it ends with it."""

    messages: tuple[Message, ...]

    @classmethod
    def user(cls, text: str, system: str | None = None) -> Conversation:
        """A conversation of one user turn, after a system message if one is given."""
        turns = (Message("user", text),)
        return cls(turns if system is None else (Message("system", system), *turns))

    @classmethod
    def from_dicts(cls, dicts: Iterable[Mapping[str, Any]]) -> Conversation:
        """The inverse of `to_dicts`."""
        return cls(tuple(Message(d["role"], d["content"]) for d in dicts))

    def to_dicts(self) -> list[dict[str, str]]:
        """The form that chat templates and endpoints take: `[{"role": …, "content": …}, …]`."""
        return [{"role": m.role, "content": m.content} for m in self.messages]

    def then(self, role: Role, content: str) -> Conversation:
        """The conversation with one more turn."""
        return Conversation((*self.messages, Message(role, content)))

    def with_system(self, text: str | None) -> Conversation:
        """The conversation under another system message; None means without one."""
        rest = tuple(m for m in self.messages if m.role != "system")
        return Conversation(rest if text is None else (Message("system", text), *rest))

    @property
    def last_user(self) -> str:
        """The latest user turn, or the empty string."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    def canonical(self) -> str:
        """Compact JSON: equal conversations give equal text."""
        return json.dumps([[m.role, m.content] for m in self.messages], ensure_ascii=False, separators=(",", ":"))

    def digest(self) -> str:
        """32 hex digits that stand for the canonical text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:32]
