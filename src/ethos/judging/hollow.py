"""Replies that pass every check but say nothing, found without a model.

Looked for: no word at all, placeholders left open, garbage, repetition, an echo of the prompt, and too little
content once the clause's own pattern, words of the prompt, function words and fillers are taken out. Left out
on purpose: whether the content is true or to the point, which is for a judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import regex

from ethos.judging.checks import PATTERN_TIMEOUT_S, patterns_of, without_fence
from ethos.judging.content import content_words, fillers_for
from ethos.spec.conversation import Conversation
from ethos.spec.declarations import compile_pattern
from ethos.spec.language import QUESTION_MARKS, is_spaced, sentences, words
from ethos.spec.types import Clause

# How much content a reply needs, and what its parts count for. A new word counts 1.
LEAST_CONTENT = 2.0
LEAST_CONTENT_AFTER_SMALL_TALK = 1.0  # the prompt has no content itself, as in "who are you?"
LEAST_CONTENT_PER_PLACEHOLDER = 6.0
WORD_OF_PROMPT = 0.5
CLAUSE_PATTERN = 1.0  # all its matches together
NEW_NUMBER = 3.0  # "How long is a marathon?" is answered by a number alone
TERSE_ANSWER = 2.0  # "Canberra.": new words and nothing around them
QUESTION_BACK = 2.0  # a question with new content is an answer to an unclear message
UNSPACED_LETTER = 0.5  # a Han character: words have about two

STEM_LETTERS = 5  # by which "renewal" is recognised as the prompt's "renew"
LONGEST_KEYWORD_WORDS = 4
NGRAM_WORDS = 3
DISTINCT_NGRAMS = 0.5  # prose stays above 0.8
ECHOED_NGRAMS = 0.8
SHORTEST_LOOP_WORDS = 12
LONGEST_WORD_LETTERS = 30
PRONOUNCEABLE = 0.6  # share of words with a vowel; abbreviations keep honest text below 1
SYMBOLS = 0.5  # share of what is no space

_OPEN_SLOT = re.compile(r"\{\{[^{}]*\}\}|\blorem ipsum\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\[[^\W\d][^\[\]\n\x22]{1,60}\](?!\()|<[A-Za-z][\w ]{2,40}>|【[^】\n]{2,30}】")
_VOWEL = regex.compile(r"[aeiouyàâäéèêëîïôöùûüÿœæ]", regex.IGNORECASE)
_LATIN_WORD = regex.compile(r"\p{Latin}{3,}")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


def hollow_reason(clause: Clause, prompt: Conversation, reply: str) -> str | None:
    """Why the reply says nothing, in a few words; None if it says something.

    Works in any language; it knows more fillers in those that have a list in `fillers/`.
    """
    if _is_data(reply):
        return None
    return degenerate_reason(prompt, reply) or _lack_of_content(clause, _asked(prompt), reply)


def degenerate_reason(prompt: Conversation, reply: str) -> str | None:
    """Why the reply is no reply at all, whatever was to be said: empty, garbage, a loop, an echo. None if it is one."""
    spoken = [word.casefold() for word in words(reply)]
    if not spoken:
        return "no word in it"
    if slot := _OPEN_SLOT.search(reply):
        return f"a placeholder was left open: {slot.group()!r}"
    if _is_garbage(reply):
        return "mostly no words"
    if _is_repetition(reply, spoken):
        return "the same over and over"
    return "only an echo of the prompt" if _is_echo(_asked(prompt), spoken) else None


def _asked(prompt: Conversation) -> str:
    return "\n".join(message.content for message in prompt.messages if message.role != "system")


def _lack_of_content(clause: Clause, asked: str, reply: str) -> str | None:
    fillers = fillers_for(f"{asked}\n{reply}")
    asked_words = content_words(asked, fillers)
    placeholders = [found for found in _PLACEHOLDER.findall(reply) if found not in asked]
    rest = _without_keywords(clause, _PLACEHOLDER.sub(" ", reply) if placeholders else reply)
    new = content_words(rest, fillers) - asked_words

    beside_words = CLAUSE_PATTERN * (words(rest) != words(reply))
    beside_words += NEW_NUMBER * bool(_numbers(reply) - _numbers(asked))
    beside_words += TERSE_ANSWER * (len(new) == len(words(reply)))
    beside_words += QUESTION_BACK * any(content_words(q, fillers) & new for q in _questions(reply))
    content = _weighed(content_words(rest, fillers), asked_words) + beside_words

    if content < LEAST_CONTENT_PER_PLACEHOLDER * len(placeholders):
        return f"placeholders and little else: {placeholders[0]!r}"
    if not new and not beside_words:
        return "nothing but words of the prompt and fillers"
    if content < (LEAST_CONTENT if asked_words else LEAST_CONTENT_AFTER_SMALL_TALK):
        return "too little without fillers, the clause's own pattern and words of the prompt"
    return None


def _weighed(found: Iterable[str], asked_words: set[str]) -> float:
    asked_stems = {word[:STEM_LETTERS] for word in asked_words}
    return sum(
        (1.0 if is_spaced(stem) else UNSPACED_LETTER) * (WORD_OF_PROMPT if stem in asked_stems else 1.0)
        for stem in {word[:STEM_LETTERS] for word in found}
    )


def _without_keywords(clause: Clause, reply: str) -> str:
    """The reply without what its clause's `must_match` patterns match.

    A match of many words is a pattern for the whole reply, not for a word in it, and stays.
    """

    def blank(match: regex.Match[str]) -> str:
        return " " if len(words(match.group())) <= LONGEST_KEYWORD_WORDS else str(match.group())

    declared = [check.argument for check in clause.checks if check.name == "must_match"]
    for pattern in (pattern for argument in declared for pattern in patterns_of(argument)):
        try:
            reply = compile_pattern(pattern).sub(blank, reply, timeout=PATTERN_TIMEOUT_S)
        except TimeoutError:
            continue
    return reply


def _questions(text: str) -> list[str]:
    return [sentence for sentence in sentences(text) if sentence.rstrip("\"'”’»）) ").endswith(QUESTION_MARKS)]


def _numbers(text: str) -> set[str]:
    return {word for word in words(_LIST_NUMBER.sub(" ", text)) if word[0].isdigit()}


def _is_repetition(reply: str, spoken: list[str]) -> bool:
    said = [tuple(words(sentence.casefold())) for sentence in sentences(reply)]
    if len(said) >= 3 and len(said) - len(set(said)) >= len(said) / 3:
        return True
    if len(spoken) >= 3 and len(set(spoken)) == 1:
        return True
    ngrams = _ngrams(spoken)
    return len(spoken) >= SHORTEST_LOOP_WORDS and len(set(ngrams)) < DISTINCT_NGRAMS * len(ngrams)


def _is_echo(asked: str, spoken: list[str]) -> bool:
    heard = set(_ngrams([word.casefold() for word in words(asked)]))
    ngrams = _ngrams(spoken)
    return len(ngrams) >= NGRAM_WORDS and sum(n in heard for n in ngrams) >= ECHOED_NGRAMS * len(ngrams)


def _is_garbage(reply: str) -> bool:
    dense = "".join(reply.split())
    symbols = sum(c == "\N{REPLACEMENT CHARACTER}" or (c.isascii() and not c.isalnum()) for c in dense)
    latin = _LATIN_WORD.findall(reply)
    speakable = sum(bool(_VOWEL.search(word)) and len(word) <= LONGEST_WORD_LETTERS for word in latin)
    return symbols > SYMBOLS * len(dense) or (len(latin) >= 3 and speakable < PRONOUNCEABLE * len(latin))


def _is_data(reply: str) -> bool:
    """Whether the reply is a JSON list or object with a number or a truth value in it: content enough."""
    try:
        data = json.loads(without_fence(reply))
    except (ValueError, RecursionError):
        return False
    return isinstance(data, list | dict) and any(isinstance(leaf, int | float) for leaf in _leaves(data))


def _leaves(data: object) -> Iterable[object]:
    if isinstance(data, list | dict):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _leaves(part)
    else:
        yield data


def _ngrams(spoken: list[str]) -> list[tuple[str, ...]]:
    return [tuple(spoken[start : start + NGRAM_WORDS]) for start in range(len(spoken) - NGRAM_WORDS + 1)]
