"""When two texts are taken for the same: what keeps pools, canaries and training rows apart.

By words alone. What says the same in other words is not found here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ethos.judging.content import content_words, fillers_for, load_fillers
from ethos.spec.language import words

RUN_WORDS = 8  # as many words in a row in two texts, and one is taken from the other
MOST_IN_COMMON = 0.6  # Jaccard index of the content words of two texts; from there on they are one text
LEAST_INSIDE = 0.5  # as much of a text's content words is all of another's: that text with something around it
_FEWEST_CONTENT_WORDS = 2  # "who are you?" has none, and of one alone nothing follows


class Taken:
    """Texts that there are already. A new one must not share a long run of words, or most content words, with any.

    So "How do I boil an egg?" and "Hello, how do I boil an egg? Thanks a lot, Ben" are one. A text with fewer than two
    content words is compared by its wording: "Who am I?" and "Hello, who am I?" are one as well.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._runs: set[tuple[str, ...]] = set()
        self._parts: set[tuple[str, ...]] = set()
        self._by_word: dict[str, list[frozenset[str]]] = defaultdict(list)
        for text in texts:
            self.add(text)

    def add(self, text: str) -> bool:
        """Whether the text is new; if so it counts as taken from now on."""
        spoken, content = _spoken(text), _content(text)
        runs, parts = _runs_of(spoken, min(RUN_WORDS, len(spoken))), _parts_of(spoken)
        near = {other for word in content for other in self._by_word[word]}
        wordings = runs & (self._runs | self._parts) or parts & self._runs
        if wordings or any(_is_close(content, other) for other in near):
            return False
        self._runs |= runs
        self._parts |= parts
        for word in content:
            self._by_word[word].append(content)
        return True


class HeldOut:
    """Prompts that may stand in no training row: not in whole, and no eight words in a row of one."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._runs: dict[int, set[tuple[str, ...]]] = defaultdict(set)  # by length
        for prompt in prompts:
            spoken = _spoken(prompt)
            length = min(RUN_WORDS, len(spoken))
            self._runs[length] |= _runs_of(spoken, length)

    def stands_in(self, text: str) -> bool:
        """Whether a text holds one of them."""
        spoken = _spoken(text)
        return any(_runs_of(spoken, length) & runs for length, runs in self._runs.items())


def topic_key(topic: str, language: str) -> frozenset[str]:
    """What a topic is about: its content words, so that "a cold" and "cold" are one; itself where it has none."""
    return frozenset(content_words(topic, load_fillers(language)) or {topic.casefold()})


def _is_close(one: frozenset[str], other: frozenset[str]) -> bool:
    wanted = LEAST_INSIDE if one <= other or other <= one else MOST_IN_COMMON
    return len(one & other) >= wanted * len(one | other)


def _spoken(text: str) -> list[str]:
    return [word.casefold() for word in words(text)]


def _runs_of(spoken: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(spoken[start : start + length]) for start in range(len(spoken) - length + 1)}


def _parts_of(spoken: list[str]) -> set[tuple[str, ...]]:
    """The runs of words that make up more than half of a short text."""
    longest = min(len(spoken), RUN_WORDS - 1) if len(spoken) < 2 * RUN_WORDS else 0
    return {run for length in range(len(spoken) // 2 + 1, longest + 1) for run in _runs_of(spoken, length)}


def _content(text: str) -> frozenset[str]:
    found = frozenset(content_words(text, fillers_for(text)))
    return found if len(found) >= _FEWEST_CONTENT_WORDS else frozenset()
