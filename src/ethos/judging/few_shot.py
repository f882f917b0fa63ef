"""Prompts whose examples are turns of a conversation: small models follow what they seem to have done before.

A `.yaml` file holds the system message, the form of what is asked, and examples of it with their answers.
`clause_reading.fr.yaml` is the French form of `clause_reading.yaml`; English is the fallback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ethos.judging.wording import PROMPTS
from ethos.spec.conversation import Conversation, Message
from ethos.spec.language import in_language, language_name

_LIST_ITEM = re.compile(r"^\s*(?:\d+\s*[.):、．：]|[-*•])\s*(.+?)\s*$")


@dataclass(frozen=True, slots=True)
class FewShot:
    """One prompt file as read."""

    system: str
    ask: str
    examples: tuple[tuple[Mapping[str, str], str], ...]  # what was asked, and the answer

    def fill(self, asked: Mapping[str, str], more: Sequence[tuple[Mapping[str, str], str]] = ()) -> Conversation:
        """The conversation up to the answer that is wanted, with `more` examples after those of the file.

        KeyError if a placeholder of the file is not given.
        """
        turns = [Message("system", self.system)]
        for example, answer in (*self.examples, *more):
            turns += [Message("user", self.ask.format_map(example)), Message("assistant", answer)]
        return Conversation((*turns, Message("user", self.ask.format_map(asked))))


@cache
def load_few_shot(name: str, language: str = "en", folder: Path = PROMPTS) -> FewShot:
    """The prompt file `name` in `language`; where there is none, the English one, which then says what to write in."""
    english = folder / f"{name}.yaml"
    path = in_language(english, language)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    examples = tuple((example["ask"], example["answer"]) for example in data["examples"])
    system = data["system"]
    if language != "en" and path == english:
        system += f"\n\nWhat you get after the examples is in {language_name(language)}: answer it in that language."
    return FewShot(system, data["ask"], examples)


def list_item(line: str) -> str:
    """What a line of a numbered or dotted list says; "" if it is none."""
    match = _LIST_ITEM.match(line)
    return bare(match.group(1)) if match else ""


def bare(text: str) -> str:
    """An answer without quotes and marks of emphasis around it."""
    return text.strip().strip('*_"“” ')
