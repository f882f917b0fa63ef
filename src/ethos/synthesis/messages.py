"""Messages as a teacher writes them: without what it puts around them, and refused where no person would send such.

Left out on purpose: whether a message fits its clause and topic (`scenarios.py`).
"""

from __future__ import annotations

import regex

from ethos.spec.language import as_many_words, words
from ethos.synthesis.types import patterns_of

LONGEST_MESSAGE_TOKENS = 120
_FEWEST_WORDS, _MOST_WORDS = 3, 80
_OPEN_SLOT = regex.compile(
    r"\[[\p{L}' ’]{2,30}\]|【[^】]{1,30}】|\{\{?\w+\}?\}|<\||^(?:form|situation|who writes):",
    regex.IGNORECASE | regex.MULTILINE,
)
_LABEL = regex.compile(
    r"^(?:subject|message|email|text|post|objet|courriel|主题|邮件|消息)\s*[:：]\s*", regex.IGNORECASE
)
_QUOTES = ('""', "“”", "«»", "「」")


def clean_message(text: str) -> str | None:
    """The message without labels and quotation marks; None if it is empty, too long, open, or an answer."""
    text = _unquoted(_LABEL.sub("", _unquoted(text.strip())).strip())
    spoken = words(text)
    if not _FEWEST_WORDS <= len(spoken) <= as_many_words(_MOST_WORDS, spoken):
        return None
    return None if _OPEN_SLOT.search(text) or patterns_of("answers").search(text) else text


def _unquoted(text: str) -> str:
    """Without the quotation marks around the whole of it."""
    is_quoted = len(text) > 1 and text[0] + text[-1] in _QUOTES and not set(text[1:-1]) & set("".join(_QUOTES))
    return text[1:-1].strip() if is_quoted else text
