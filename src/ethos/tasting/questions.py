"""Questions with answers that can be checked, of which a small chat model gets a good part right and not all.

They measure capability and have nothing to do with any spec. Families of facts are files in `question_families/`;
those of numbers are made here. Left out on purpose: languages other than English, questions that need several steps of
reasoning, which a small model can't take, and questions with two answers to choose from ("the larger of 23 and 86"):
a model that always says the second is right half of the time, and looks as if it had forgotten something when it stops.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import zip_longest

from ethos.spec.language import sentences, words

SCREENING_PER_FAMILY = 20
LOWEST_ACCURACY, HIGHEST_ACCURACY = 0.3, 0.9
FEWEST_FAMILIES = 3

_RIVALS = "other answers are wrong"  # the line of a family's file that says so
_OPENER_WORDS = 4  # "That's a good question!" answers nothing yet
_RESTATED_WORDS = 3  # as many words in a row that stand in the question are the question said again
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_LARGEST_RIVAL = 150


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its right answers, and with rivals: answers that make a reply wrong where it names one too.

    Both in lower case, without accents and punctuation.
    """

    family: str
    prompt: str
    answers: frozenset[str]
    rivals: frozenset[str]
    id: str  # the same for every seed


@dataclass(frozen=True, slots=True)
class FamilyChoice:
    """The families that the canary asks from; `warning` says so where the screening left too few."""

    families: tuple[str, ...]
    warning: str | None


def screening_questions(seed: int) -> list[Question]:
    """The first 20 questions of every family: they choose the families and are asked for nothing else."""
    return [question for family in FAMILIES for question in _shuffled(family, seed)[:SCREENING_PER_FAMILY]]


def every_question() -> list[Question]:
    """The questions of all families, whatever the seed."""
    return [question for family in FAMILIES for question in _questions_of(family)]


def generate(count: int, seed: int, families: Sequence[str] | None = None) -> list[Question]:
    """`count` questions taken from the families in turn; by default from all of them.

    With the same seed none of them is among `screening_questions(seed)`. A family that runs out leaves its place to
    the others, and if all have run out there are fewer than `count`.
    """
    rests = [_shuffled(family, seed)[SCREENING_PER_FAMILY:] for family in families or FAMILIES]
    in_turn = [question for turn in zip_longest(*rests) for question in turn if question is not None]
    return in_turn[:count]


def choose_families(results: Mapping[str, Sequence[bool]]) -> FamilyChoice:
    """The families that can show a fall and a rise alike: those answered right 30% to 90% of the time on the screening.

    `results` is family -> whether each answer was right. If fewer than three families lie there, the three nearest to
    the middle are taken, with a warning.
    """
    accuracy = {family: sum(right) / len(right) for family, right in results.items() if right}
    inside = tuple(f for f, share in accuracy.items() if LOWEST_ACCURACY <= share <= HIGHEST_ACCURACY)
    if len(inside) >= FEWEST_FAMILIES:
        return FamilyChoice(inside, None)
    middle = (LOWEST_ACCURACY + HIGHEST_ACCURACY) / 2
    nearest = sorted(accuracy, key=lambda family: abs(accuracy[family] - middle))[:FEWEST_FAMILIES]
    shown = ", ".join(f"{family} {accuracy[family]:.0%}" for family in nearest)
    return FamilyChoice(
        tuple(nearest),
        f"only {len(inside)} of {len(accuracy)} families of canary questions are answered right "
        f"{LOWEST_ACCURACY:.0%} to {HIGHEST_ACCURACY:.0%} of the time; the nearest are asked instead ({shown}), "
        "so the question canary can miss a loss or a gain",
    )


def is_right(question: Question, reply: str) -> bool:
    """Whether the first sentence of a reply names an accepted answer, in whole words, and no rival of it.

    A short opener ("Good question!") is passed over. The question said again is no part of the answer.
    """
    asked = _folded_words(question.prompt)
    for sentence in sentences(reply):
        said = _without_restatement(_folded_words(sentence), asked)
        is_accepted, is_rivalled = _names_any(said, question.answers), _names_any(said, question.rivals)
        if is_accepted or is_rivalled or len(words(sentence)) > _OPENER_WORDS:
            return is_accepted and not is_rivalled
    return False


def _names_any(said: Sequence[str], answers: Iterable[str]) -> bool:
    text = f" {' '.join(said)} "
    return any(f" {answer} " in text for answer in answers)


def _without_restatement(said: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The words that are not in a run of three or more which stands in the question."""
    runs = {tuple(asked[i : i + _RESTATED_WORDS]) for i in range(len(asked) - _RESTATED_WORDS + 1)}
    restated: set[int] = set()
    for start in range(len(said) - _RESTATED_WORDS + 1):
        if tuple(said[start : start + _RESTATED_WORDS]) in runs:
            restated.update(range(start, start + _RESTATED_WORDS))
    return [word for position, word in enumerate(said) if position not in restated]


def _folded_words(text: str) -> list[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return words(plain.casefold())


def _folded(text: str) -> str:
    return " ".join(_folded_words(text))


def _shuffled(family: str, seed: int) -> list[Question]:
    questions = list(_questions_of(family))
    random.Random(f"{seed}/{family}").shuffle(questions)
    return questions


@cache
def _questions_of(family: str) -> tuple[Question, ...]:
    make = _NUMBER_FAMILIES.get(family)
    return tuple(_facts(family) if make is None else make())


def _facts(family: str) -> Iterator[Question]:
    """The questions of a file: its wording, whether other answers are wrong, an empty line; then `item: answer, …`."""
    text = files(__package__).joinpath("question_families", f"{family}.txt").read_text(encoding="utf-8")
    head, _, body = text.partition("\n\n")
    wording, *rest = head.splitlines()
    facts = [line.split(": ", 1) for line in body.splitlines() if line]
    accepted = {item: frozenset(map(_folded, answers.split(", "))) for item, answers in facts}
    everything = frozenset[str]().union(*accepted.values()) if _RIVALS in rest else frozenset[str]()
    for item, answers in accepted.items():
        prompt = wording.replace("{item}", item)
        yield Question(family, prompt, answers, everything - answers, f"{family}/{item}")


def _additions() -> Iterator[Question]:
    for a in range(1, 10):
        for b in range(1, 10):
            yield _sum_question("addition", f"{a} + {b}", a + b)


def _multiplications() -> Iterator[Question]:
    for a in range(2, 13):
        for b in range(2, 13):
            yield _sum_question("multiplication", f"{a} * {b}", a * b)


def _sum_question(family: str, term: str, result: int) -> Question:
    rivals = {str(number) for number in range(_LARGEST_RIVAL)} - {str(result), *words(term)}
    answers = frozenset({str(result), _folded(_spelled(result))}) if result < 100 else frozenset({str(result)})
    return Question(family, f"Answer with one number: {term}", answers, frozenset(rivals), f"{family}/{term}")


def _numerals() -> Iterator[Question]:
    for number in range(10, 100):
        prompt = f"Answer with one number: {_spelled(number)} in digits"
        rivals = frozenset(str(other) for other in range(_LARGEST_RIVAL) if other != number)
        yield Question("numerals", prompt, frozenset({str(number)}), rivals, f"numerals/{number}")


def _spelled(number: int) -> str:
    """A number below 100 in English words."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


_NUMBER_FAMILIES: dict[str, Callable[[], Iterator[Question]]] = {
    "addition": _additions,
    "multiplication": _multiplications,
    "numerals": _numerals,
}
FAMILIES = (
    *_NUMBER_FAMILIES,
    "capitals",
    "categories",
    "cities",
    "comparatives",
    "elements",
    "opposites",
    "past_tense",
    "plurals",
)
