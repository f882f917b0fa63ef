"""When two texts are taken for the same: what keeps pools, canaries and training rows apart.

By words alone. What says the same in other words is not found here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from ethos.judging.content import Fillers, content_words, fillers_for, load_fillers
from ethos.spec.language import as_many_words, is_spaced, words

RUN_WORDS = 8  # as many words in a row in two texts, and one is taken from the other
MOST_IN_COMMON = 0.6  # Jaccard index of the content words of two texts; from there on they are one text
LEAST_INSIDE = 0.5  # as much of a text's content words is all of another's: that text with something around it
_LIKENESS_WORDS = 3
_HIRAGANA = regex.compile(r"\p{Hiragana}")
_COMMON_SHARE, _FEWEST_COMMON = 1 / 8, 3  # a word in more of a clause's topics says nothing of one of them
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
            self._keep(_Wording.of(text))

    def add(self, text: str) -> bool:
        """Whether the text is new; if so it counts as taken from now on."""
        wording = _Wording.of(text)
        is_new = not self._has(wording)
        if is_new:
            self._keep(wording)
        return is_new

    def has(self, text: str) -> bool:
        """Whether the text is one of them, or close to one."""
        return self._has(_Wording.of(text))

    def _has(self, wording: _Wording) -> bool:
        if not wording.runs.isdisjoint(self._runs) or not wording.runs.isdisjoint(self._parts):
            return True
        if not wording.parts.isdisjoint(self._runs):
            return True
        return any(_is_close(wording.content, other) for word in wording.content for other in self._by_word[word])

    def _keep(self, wording: _Wording) -> None:
        self._runs |= wording.runs
        self._parts |= wording.parts
        for word in wording.content:
            self._by_word[word].append(wording.content)


@dataclass(frozen=True, slots=True)
class _Wording:
    """What of a text is compared."""

    runs: set[tuple[str, ...]]  # of eight words, or sixteen letters; of a shorter text the whole
    parts: set[tuple[str, ...]]  # what makes up more than half of a short text
    content: frozenset[str]  # its content words, if they are enough to tell what it is about

    @classmethod
    def of(cls, text: str) -> _Wording:
        spoken = _spoken(text)
        length = min(as_many_words(RUN_WORDS, spoken), len(spoken))
        longest_part = min(len(spoken), length - 1) if len(spoken) < 2 * length else 0
        parts = (_runs_of(spoken, part) for part in range(len(spoken) // 2 + 1, longest_part + 1))
        content = _content(text, spoken, fillers_for(text))
        return cls(
            _runs_of(spoken, length),
            set().union(*parts),
            content if len(content) >= _FEWEST_CONTENT_WORDS else frozenset(),
        )


class HeldOut:
    """Prompts that may stand in no training row: not in whole, and no eight words in a row of one."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._runs: dict[int, set[tuple[str, ...]]] = defaultdict(set)  # by length
        for spoken in filter(None, map(_spoken, prompts)):  # a prompt without a word would stand in every text
            length = min(as_many_words(RUN_WORDS, spoken), len(spoken))
            self._runs[length] |= _runs_of(spoken, length)

    def stands_in(self, text: str) -> bool:
        """Whether a text holds one of them."""
        spoken = _spoken(text)
        return any(_runs_of(spoken, length) & runs for length, runs in self._runs.items())


def likeness(one: str, other: str) -> float:
    """Share of all their runs of three words that two texts have in common (Jaccard); 1 for the same words."""
    runs, others = (_runs_of(spoken, min(_LIKENESS_WORDS, len(spoken))) for spoken in (_spoken(one), _spoken(other)))
    return len(runs & others) / len(runs | others)


def topic_key(topic: str, language: str) -> frozenset[str]:
    """What a topic is about: its content words and numbers, so that "a cold" and "cold" are one; else itself."""
    spoken = _spoken(topic)
    numbers = {word for word in spoken if word[0].isdigit()}
    return frozenset(_content(topic, spoken, load_fillers(language)) | numbers or {topic.casefold()})


def near_topics(topics: Sequence[str], language: str) -> Callable[[str, str], bool]:
    """Whether two topics of one clause are close: if half of one's content words or more are the other's too.

    "Starting a business" and "starting a new business" are. Words that stand in many of the topics don't count: they
    are what the clause is about.
    """
    keys = {topic: topic_key(topic, language) for topic in topics}
    common = Counter(word for key in keys.values() for word in key)
    most = max(_FEWEST_COMMON, len(keys) * _COMMON_SHARE)
    telling = {topic: {word for word in key if common[word] <= most} for topic, key in keys.items()}

    def are_near(one: str, other: str) -> bool:
        fewest = min(len(telling[one]), len(telling[other]))
        return fewest > 0 and len(telling[one] & telling[other]) >= LEAST_INSIDE * fewest

    return are_near


def _content(text: str, spoken: Sequence[str], fillers: Fillers | None) -> frozenset[str]:
    """The content words of a text.

    Of scripts without spaces these are runs of katakana, and pairs of neighbouring letters, which are about a word;
    hiragana, which mostly says how words belong together, is left out.
    """
    found = {word for word in content_words(text, fillers) if not _HIRAGANA.match(word)}
    runs = {word for word in spoken if len(word) > 1 and not is_spaced(word) and set(word) <= found}
    pairs = {one + other for one, other in pairwise(spoken) if len(one) == len(other) == 1 and {one, other} <= found}
    return frozenset({word for word in found if is_spaced(word)} | runs | {p for p in pairs if not is_spaced(p)})


def _is_close(one: frozenset[str], other: frozenset[str]) -> bool:
    wanted = LEAST_INSIDE if one <= other or other <= one else MOST_IN_COMMON
    return len(one & other) >= wanted * len(one | other)


def _spoken(text: str) -> list[str]:
    return [word.casefold() for word in words(text)]


def _runs_of(spoken: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(spoken[start : start + length]) for start in range(len(spoken) - length + 1)}
