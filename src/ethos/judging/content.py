"""Words that carry content: what a text keeps without function words and fillers, in any language.

Lists for English, French and Chinese stand in `fillers/`. In other languages a word of four letters or more counts (of
two in scripts without case, such as Arabic and Hangul), and in scripts without spaces between words each distinct
letter does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ethos.spec.language import UNKNOWN, detect_language, is_spaced, words

FILLERS = Path(__file__).with_name("fillers")
LEAST_FUNCTION_WORDS = 0.25  # share by which a text too short for the detector shows its language
SHORTEST_UNLISTED, SHORTEST_CASELESS = 4, 2  # letters, in languages without a list


@dataclass(frozen=True, slots=True)
class Fillers:
    """A language's function words and fillers."""

    single: frozenset[str]
    phrases: re.Pattern[str]


def content_words(text: str, fillers: Fillers | None) -> set[str]:
    """Distinct words that carry content, casefolded; of scripts without spaces, letters; numbers apart."""
    plain = text.casefold().replace("’", "'")
    if fillers is not None:
        plain = fillers.phrases.sub(" ", plain)
    found: set[str] = set()
    for part in (part for word in words(plain) for part in word.split("'") if part and not part[0].isdigit()):
        if not is_spaced(part):
            found.update(part)
        elif fillers is not None or len(part) >= _shortest(part):
            found.add(part)
    return found if fillers is None else found - fillers.single


def _shortest(word: str) -> int:
    return SHORTEST_CASELESS if word.lower() == word.upper() else SHORTEST_UNLISTED


def fillers_for(text: str) -> Fillers | None:
    """The list for a text's language; where that can't be told, the one whose words the text uses most."""
    language = detect_language(text)
    if language != UNKNOWN:
        return load_fillers(language)
    spoken = [word.casefold() for word in words(text)]
    known = [fillers for path in sorted(FILLERS.glob("*.txt")) if (fillers := load_fillers(path.stem))]
    hits = [sum(word in fillers.single for word in spoken) for fillers in known]
    return known[hits.index(max(hits))] if max(hits) >= LEAST_FUNCTION_WORDS * len(spoken) else None


@cache
def load_fillers(language: str) -> Fillers | None:
    """The list `fillers/<language>.txt`; None if there is none."""
    path = FILLERS / f"{language}.txt"
    if not path.is_file():
        return None
    single: set[str] = set()
    phrases: list[str] = []
    for line in path.read_text(encoding="utf-8").casefold().splitlines():
        if line.startswith("+ "):
            phrases.append(line[2:].strip())
        elif not line.startswith("#"):
            single.update(line.split())
    longest_first = "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))
    edge = r"\b" if is_spaced(longest_first) else ""
    return Fillers(frozenset(single), re.compile(f"{edge}(?:{longest_first}){edge}" if phrases else r"(?!)"))
