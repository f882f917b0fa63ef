"""Whether a text takes another model's name or maker for its own, as a teacher's does that was trained to be one.

Naming one is no fault ("Google it"), nor is saying not to be one; saying to be one, or to be made by one, is, unless
the spec says so of its character.
"""

from __future__ import annotations

from functools import cache

import regex

from ethos.spec.language import sentences
from ethos.spec.types import Spec
from ethos.synthesis.types import PROMPTS, lines_of

_DENIES = regex.compile(
    r"\b(?:not|never|no|nor|without|unlike|pas|jamais|aucun|nicht|nie|kein\w*|nunca|ningún)\b|n['’]t\b|[不没非]",
    regex.IGNORECASE,
)
TAKEN = "takes another model's name or maker"


class ForeignIdentity:
    """Looks for names that a spec doesn't give its character."""

    def __init__(self, spec: Spec) -> None:
        """Of this spec: its title, and what stands beside a word of making."""
        said = [sentence for sentence in sentences(spec.text) if not _DENIES.search(sentence)]
        made = (match[1] for sentence in said for match in _making().finditer(sentence))
        self._own = {name.casefold() for name in (*made, *_makers().findall(spec.name))}

    def found(self, text: str) -> str | None:
        """A name that the text takes and the spec doesn't give; None if there is none."""
        names = (match[1] for claim in _claims() for match in claim.finditer(text))
        return next((name for name in names if name.casefold() not in self._own), None)


def _maker() -> str:
    return f"(?-i:{'|'.join(lines_of('makers.txt'))})"  # "google it" is a verb


@cache
def _makers() -> regex.Pattern[str]:
    return regex.compile(rf"\b{_maker()}\b")


@cache
def _making() -> regex.Pattern[str]:
    """What a spec says of its own character, whoever is its subject."""
    return regex.compile(rf"\b(?:by|par|von|por|由) (?:[\w'’-]+ ){{0,3}}({_maker()})\b", regex.IGNORECASE)


@cache
def _claims() -> tuple[regex.Pattern[str], ...]:
    """Those of `identity.<language>.txt`, in which `{maker}` stands for any line of `makers.txt`."""
    lines = [line for path in sorted(PROMPTS.glob("identity.*.txt")) for line in lines_of(path.name)]
    return tuple(regex.compile(line.replace("{maker}", f"({_maker()})"), regex.IGNORECASE) for line in lines)
