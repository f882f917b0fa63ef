"""Recitation: a reply that quotes the spec at length, as if learnt by heart."""

from __future__ import annotations

from itertools import pairwise

from ethos.spec.language import as_many_words, words
from ethos.spec.types import Spec

RUN_WORDS = 12


class Recitation:
    """The runs of words of one text, looked up in any number of replies."""

    def __init__(self, text: str, run_words: int = RUN_WORDS) -> None:
        """Reads the text once; `found` then costs as much as the reply is long."""
        self._run_words = run_words
        spoken = words(text)
        self._runs = {length: frozenset(_runs(spoken, length)) for length in (run_words, 2 * run_words)}

    def found(self, reply: str) -> str | None:
        """The longest run of words of the reply that stands in the text; None if none is long enough.

        Words are those of UAX #29, compared without regard to case and punctuation; two Han characters are one.
        """
        spoken = words(reply)
        length = as_many_words(self._run_words, spoken)
        starts = [at for at, run in enumerate(_runs(spoken, length)) if run in self._runs[length]]
        if not starts:
            return None
        breaks = [0, *(i for i, (a, b) in enumerate(pairwise(starts), 1) if b != a + 1), len(starts)]
        first, count = max(((starts[a], b - a) for a, b in pairwise(breaks)), key=lambda run: run[1])
        return " ".join(spoken[first : first + count + length - 1])


def recitation_of(spec: Spec, run_words: int = RUN_WORDS) -> Recitation:
    """Of a spec's prose, and of the replies that it gives as examples."""
    examples = (example.reply for clause in spec.clauses for example in (*clause.good, *clause.bad))
    return Recitation("\n\n".join((spec.text, *examples)), run_words)


def _runs(spoken: list[str], length: int) -> list[tuple[str, ...]]:
    folded = [word.casefold() for word in spoken]
    return [tuple(folded[start : start + length]) for start in range(len(folded) - length + 1)]
