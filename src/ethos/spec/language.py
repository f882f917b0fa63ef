"""Sentences, words and languages of any text, offline.

Boundaries are those of UAX #29, its rules spelled out below as two patterns over the character classes that `regex`
has: libraries that walk them in Python take 20 ms for a reply, these take 0.1 ms. Tailored: Latin abbreviations, the
numbers of list items, quotation marks, runs of hiragana. Left out on purpose: dictionaries, as Thai would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNKNOWN = "und"
QUESTION_MARKS = ("?", "？", "؟", "\N{GREEK QUESTION MARK}", "՞")
_CONFIDENT = 0.2  # of the detector's softened probability; below it, single words and names are guessed at random
_DETECTED_CHARACTERS = 20_000  # more text doesn't change the answer

_NAMES = """
af Afrikaans, am Amharic, an Aragonese, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian,
bg Bulgarian, bn Bengali, br Breton, bs Bosnian, ca Catalan, cs Czech, cy Welsh, da Danish, de German, dz Dzongkha,
el Greek, en English, eo Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fo Faroese, fr French,
fy Frisian, ga Irish, gd Scottish Gaelic, gl Galician, gu Gujarati, ha Hausa, he Hebrew, hi Hindi, hr Croatian,
ht Haitian Creole, hu Hungarian, hy Armenian, id Indonesian, ig Igbo, is Icelandic, it Italian, ja Japanese,
jv Javanese, ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean, ku Kurdish, ky Kyrgyz, la Latin,
lb Luxembourgish, lg Ganda, ln Lingala, lo Lao, lt Lithuanian, lv Latvian, mg Malagasy, mk Macedonian, ml Malayalam,
mn Mongolian, mr Marathi, ms Malay, mt Maltese, my Burmese, ne Nepali, nl Dutch, no Norwegian,
oc Occitan, om Oromo, or Odia, pa Punjabi, pl Polish, ps Pashto, pt Portuguese, qu Quechua, ro Romanian, ru Russian,
rw Kinyarwanda, sa Sanskrit, se Northern Sami, si Sinhala, sk Slovak, sl Slovenian, sn Shona, so Somali, sq Albanian,
sr Serbian, st Sotho, sv Swedish, sw Swahili, ta Tamil, te Telugu, tg Tajik, th Thai, tk Turkmen, tl Tagalog,
tr Turkish, tt Tatar, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek, vi Vietnamese, vo Volapük, wa Walloon, xh Xhosa,
yo Yoruba, zh Chinese, zu Zulu
"""
LANGUAGES: dict[str, str] = dict(entry.split(maxsplit=1) for entry in _NAMES.replace("\n", " ").strip().split(", "))
"""ISO 639-1 code to English name, for every language that `detect_language` can return."""

_ABBREVIATIONS = (
    r"Dr|Drs|Mr|Mrs|Ms|Prof|St|Mt|Rev|Hon|Gen|Capt|Lt|Sgt|vs|cf|viz|e\.g|i\.e|p\.\s?ex|approx|"  # English
    r"M|MM|Mme|Mmes|Mlle|Mgr|z\.\s?B|d\.\s?h|bzw|ca|Hr|Fr|Sr|Sra"  # French, German, Spanish
)
# Plain text put into the pattern, not named groups: those would be recorded at every turn of its loop.
_MARKS = r"[\p{SB=Extend}\p{SB=Format}]*+"  # SB5: they belong to the character before them
_BREAKS = r"\p{SB=Sep}\p{SB=CR}\p{SB=LF}"
_ENDS = r"\p{SB=STerm}\p{SB=ATerm}"
_CLOSE = rf"(?:\p{{SB=Close}}{_MARKS})"
_SPACE = rf"(?:\p{{SB=Sp}}{_MARKS})"
_NEWLINE = rf"(?:\r\n|[{_BREAKS}])"
_SENTENCE = regex.compile(
    rf"""(?xmV1)
    (?:
        [^{_ENDS}{_BREAKS}]++
      | \p{{SB=ATerm}} {_MARKS} (?= \p{{SB=Numeric}} )                                    # SB6: 3.5
      | (?<= [\p{{SB=Upper}}\p{{SB=Lower}}] [\p{{SB=Extend}}\p{{SB=Format}}]{{0,4}} )
        \p{{SB=ATerm}} {_MARKS} (?= \p{{SB=Upper}} )                                      # SB7: U.S.
      | (?<= \b (?: {_ABBREVIATIONS} ) ) \.                                               # Dr. Smith
      | (?<= \b [Nn]o ) \. (?= [ ]? \d )                                                  # No. 5
      | (?<= ^ [ \t]{{0,12}} \d{{1,2}} ) \. (?= [ \t] )                                   # the number of a list item
      | \p{{SB=ATerm}} {_MARKS} {_CLOSE}*+ {_SPACE}*+
        (?= [^\p{{SB=OLetter}}\p{{SB=Upper}}\p{{SB=Lower}}{_ENDS}{_BREAKS}]*+ \p{{SB=Lower}} )  # SB8: etc. and so on
      | [{_ENDS}] {_MARKS} {_CLOSE}*+ {_SPACE}*+ (?= [\p{{SB=SContinue}}{_ENDS}] )        # SB8a: ?!
      | [{_ENDS}] {_MARKS} (?: {_CLOSE}++ {_SPACE}*+ | {_SPACE}++ » {_SPACE}++ )
        (?= \p{{SB=Lower}} )                                                              # "Why?" she asked
    )*+
    (?:
        [。！？｡] {_MARKS} (?: (?! [\p{{Ps}}\p{{Pi}}] ) {_CLOSE} )*+ {_SPACE}*+ {_NEWLINE}?+
      | [{_ENDS}] {_MARKS} {_CLOSE}*+ {_SPACE}*+ (?: » (?! [\p{{L}}\p{{N}}] ) {_SPACE}*+ )?+ {_NEWLINE}?+  # SB9 to SB11
      | {_NEWLINE}
      | \Z
    )
    """
)
_WORD_MARKS = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"  # WB4
_LETTER = rf"(?:[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]{_WORD_MARKS})"
_DIGIT = rf"(?:\p{{WB=Numeric}}{_WORD_MARKS})"
_KATAKANA = rf"(?:\p{{WB=Katakana}}{_WORD_MARKS})"
_CONNECTOR = rf"(?:\p{{WB=ExtendNumLet}}{_WORD_MARKS})"
_IN_LETTERS = rf"[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}']{_WORD_MARKS}"
_IN_DIGITS = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{_WORD_MARKS}"
_RUN = rf"(?:(?:{_LETTER}(?:{_IN_LETTERS}(?={_LETTER}))?+|{_DIGIT}(?:{_IN_DIGITS}(?={_DIGIT}))?+)++|{_KATAKANA}++)"
_WORD = regex.compile(
    rf"""(?xV1)
    \p{{Hiragana}} {_WORD_MARKS} (?: [\p{{Hiragana}}ー] {_WORD_MARKS} )*+     # a tailoring: a run is one word
  | (?: (?<!\p{{WB=ExtendNumLet}}) {_CONNECTOR}++ )?+                       # a long blank is gone through once
    {_RUN} (?: {_CONNECTOR}++ {_RUN} )*+ {_CONNECTOR}*+                     # WB5 to WB13b
  | [\p{{L}}\p{{N}}] {_WORD_MARKS}                                          # a Han character
    """
)
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}ーｰ\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_HAS_WORD = regex.compile(r"[\p{L}\p{N}]")
_NOT_PROSE = regex.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", regex.DOTALL)


def sentence_ends(text: str) -> list[int]:
    """Where each sentence ends, as offsets; the space after it and the end of its line are its own."""
    return [match.end() for match in _SENTENCE.finditer(text) if match.group()]


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped. The end of a line ends a sentence; what has no word in it is left out."""
    pieces = (text[start:end] for start, end in pairwise([0, *sentence_ends(text)]))
    return [piece.strip() for piece in pieces if _HAS_WORD.search(piece)]


def word_ends(text: str) -> list[int]:
    """Where each word ends, as offsets."""
    return [match.end() for match in _WORD.finditer(text)]


def words(text: str) -> list[str]:
    """The words of a text without punctuation. A Han character is a word, and so is a run of hiragana or katakana."""
    return _WORD.findall(text)


def is_spaced(word: str) -> bool:
    """Whether its script puts spaces between words; those of Chinese, Japanese, Thai, Lao, Khmer and Burmese don't."""
    return _UNSPACED.search(word) is None


def as_many_words(count: int, spoken: Sequence[str]) -> int:
    """How many of a text's words say what `count` words say: twice as many where most of them are single letters."""
    letters = sum(len(word) == 1 and not is_spaced(word) for word in spoken)
    return 2 * count if 2 * letters > len(spoken) else count


def detect_language(text: str) -> str:
    """ISO 639-1 code of the language that a text is written in; `und` if it is too short or too mixed to tell.

    Code and addresses are left out. The model (py3langid, in the package, half a second) is loaded at the first call.
    """
    prose = _NOT_PROSE.sub(" ", text[:_DETECTED_CHARACTERS])
    if not _HAS_WORD.search(prose):
        return UNKNOWN
    code, confidence = _identifier().classify(prose)
    return str(code) if confidence >= _CONFIDENT else UNKNOWN


def in_language(file: Path, language: str) -> Path:
    """`rubric.fr.md` for `rubric.md`, if there is one; else the file as given, which is in English."""
    own = file.with_suffix(f".{language}{file.suffix}")
    return own if own.is_file() else file


def language_name(code: str) -> str:
    """English name of a language, for prompts: `fr` gives `French`. A code that isn't known is given back as it is."""
    return LANGUAGES.get(code, code)


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
