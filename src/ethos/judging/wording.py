"""Prompt files: chosen by language, filled in one pass, and fenced, since models wrote what they quote.

A file in `prompts/` opens with fields (`yes: Yes`) up to a line `---`; then come the system message, a second
`---`, and the user's turn, with placeholders like `{reply}`. `rubric.fr.md` is the French form of
`rubric.md`; English is the fallback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ethos.spec.conversation import Conversation
from ethos.spec.language import in_language

PROMPTS = Path(__file__).with_name("prompts")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
CLOSING_TAG = re.compile(r"</(\w+)>")
BRACKET_MARK = re.compile(r"\[([a-z ]+)\]")


@dataclass(frozen=True, slots=True)
class Wording:
    """One prompt file as read."""

    name: str
    language: str
    fields: Mapping[str, str]
    system: str
    user: str

    def fill(self, *, trusted: Mapping[str, str], quoted: Mapping[str, str] | None = None) -> Conversation:
        """The prompt with its placeholders filled; `quoted` text is fenced first.

        Placeholders are replaced in one pass, so that a `{question}` inside a reply stays what it is.
        KeyError if a placeholder of the file is not given.
        """
        values = {**trusted, **{name: self.fence(text) for name, text in (quoted or {}).items()}}
        system = PLACEHOLDER.sub(lambda match: values[match.group(1)], self.system)
        return Conversation.user(PLACEHOLDER.sub(lambda match: values[match.group(1)], self.user), system=system)

    def fence(self, text: str) -> str:
        """`text` made unable to open or close a tag of this prompt, or to hold a chat template's token."""
        tags = "|".join(map(re.escape, sorted(set(CLOSING_TAG.findall(self.user)))))
        ours = rf"<(?=\s*/?\s*(?:{tags})\b)" if tags else r"(?!)"
        marks = "|".join(map(re.escape, sorted(set(BRACKET_MARK.findall(self.user)))))
        text = re.sub(rf"\[(?=\s*(?:{marks})\s*\])", "(", text, flags=re.IGNORECASE) if marks else text
        return re.sub(rf"{ours}|<(?=\|)|<(?=/?s>)", "‹", text, flags=re.IGNORECASE)


@cache
def load_wording(name: str, language: str = "en", folder: Path = PROMPTS) -> Wording:
    """The prompt file `name` in `language`, or in English where there is none in that language."""
    english = folder / f"{name}.md"
    path = in_language(english, language)
    head, system, user = path.read_text(encoding="utf-8").split("\n---\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return Wording(name, "en" if path == english else language, fields, system.strip(), user.strip())


def conversation_text(prompt: Conversation) -> str:
    """A prompt as another prompt quotes it: the message, or the turns with their roles; no system message."""
    turns = [message for message in prompt.messages if message.role != "system"]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)
