"""Whether a text takes another model's name or maker for its own, as a teacher's does that was trained to be one.

Naming one is no fault ("Google it"); saying to be one, or to be made by one, is, unless the spec names it too.
"""

from __future__ import annotations

from functools import cache

import regex

from ethos.spec.types import Spec
from ethos.synthesis.types import PROMPTS, lines_of

TAKEN = "takes another model's name or maker"


class ForeignIdentity:
    """Looks for names that a spec doesn't give its character."""

    def __init__(self, spec: Spec) -> None:
        """Of this spec."""
        self._own = spec.text.casefold()

    def found(self, text: str) -> str | None:
        """A name that the text takes and the spec doesn't hold; None if there is none."""
        names = (match[1] for claim in _claims() for match in claim.finditer(text))
        return next((name for name in names if name.casefold() not in self._own), None)


@cache
def _claims() -> tuple[regex.Pattern[str], ...]:
    """Those of `identity.<language>.txt`, in which `{maker}` stands for any line of `makers.txt`."""
    makers = f"((?-i:{'|'.join(lines_of('makers.txt'))}))"  # "google it" is a verb
    lines = [line for path in sorted(PROMPTS.glob("identity.*.txt")) for line in lines_of(path.name)]
    return tuple(regex.compile(line.replace("{maker}", makers), regex.IGNORECASE) for line in lines)
