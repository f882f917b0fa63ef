"""From Markdown to a `Spec`: which prose is a clause, what it is called, and what is refused.

A section with an `ethos` block is one clause; elsewhere each paragraph and each list item is one. docs/spec.md has the
rules in full. Left out on purpose: a spec spread over a folder of files.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import regex

from ethos.errors import EthosError
from ethos.spec.declarations import Declaration, did_you_mean, read_block
from ethos.spec.language import UNKNOWN, detect_language, words
from ethos.spec.sections import Section, read_markdown
from ethos.spec.types import Clause, Spec

_FEWEST_WORDS = 3
_FEWEST_HAN_CHARACTERS = 4
_HAN = regex.compile(r"\p{Han}")
_BINARY = regex.compile(r"[\x00-\x08\x0e-\x1f]")


def parse_spec(path: Path) -> Spec:
    """Reads the spec in a Markdown file.

    Raises:
        EthosError: `file:line: what; mend` for everything in the file that can't be used, and for a file that is
            missing, is a folder or is not text.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise EthosError(f"{path}: is a folder; name one Markdown file, such as {path / 'spec.md'}") from error
    except OSError as error:
        raise EthosError(f"{path}: can't be read ({error.strerror}); name a Markdown file") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise EthosError(f"{path}:{line}: is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    return parse_text(text, path.stem, path)


def parse_text(text: str, name: str, path: Path) -> Spec:
    """Reads a spec from Markdown in memory; `name` serves where it has no title, `path` in errors.

    Raises:
        EthosError: as `parse_spec`.
    """
    binary = _BINARY.search(text)
    if binary is not None:
        line = text.count("\n", 0, binary.start()) + 1
        raise EthosError(f"{path}:{line}: holds a control character, so it is not text; name a Markdown file")
    document = read_markdown(text, str(path))
    preambles = _preamble_sections(document.sections)
    drafts = [
        draft
        for section in document.sections
        for draft in _drafts(section, path, is_preamble=any(section is each for each in preambles))
    ]
    clauses = tuple(_finished(draft) for draft in _named(drafts, path))
    if not clauses:
        raise EthosError(f"{path}: holds no clauses; write at least one sentence of prose, best under a heading")
    _require_known_overrides(drafts, clauses, path)
    title = (
        "".join(document.sections[1].headings[-1:]) if _is_titled(document.sections) else ""
    )  # an image has no words
    preamble = "\n\n".join(p.whole for section in preambles for p in section.passages)
    return Spec(
        name=title or name,
        path=path,
        text=document.text,
        preamble=preamble,
        language=_language_of([preamble, *(f"{c.text}\n{c.reason}" for c in clauses)]),
        clauses=clauses,
        digest=_digest([document.text, *([c.id, c.digest] for c in clauses)]),
        is_titled=bool(title),
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A clause before it has its id for good."""

    section: Section
    text: str
    reason: str
    line: int
    id: str
    explicit: bool  # the writer gave the id
    declaration: Declaration


def _preamble_sections(sections: tuple[Section, ...]) -> list[Section]:
    """The sections before any heading and under the title, as far as prose follows them."""
    for end in (2, 1) if _is_titled(sections) else (1,):
        if any(section.passages for section in sections[end:]):
            return [section for section in sections[:end] if section.block is None]
    return []


def _is_titled(sections: tuple[Section, ...]) -> bool:
    """Whether the first heading is a title: no other is of its level or above it."""
    return len(sections) > 1 and all(section.level > sections[1].level for section in sections[2:])


def _drafts(section: Section, path: Path, is_preamble: bool) -> list[_Draft]:
    """The clauses of a section. A heading's `{#id}` is its first passage's; of a preamble only marked ones are."""
    if section.block is not None:
        return [_declared(section, read_block(section.block.yaml, str(path), section.block.line), path)]
    prefix = section.mark or slug(section.headings[-1] if section.headings else "")
    drafts = []
    for place, passage in enumerate(section.passages):
        mark = passage.mark or (section.mark if place == 0 and not is_preamble else None)
        if mark is not None or (not is_preamble and _says_something(passage.whole)):
            drafts.append(
                _Draft(
                    section,
                    passage.whole,
                    reason="",
                    line=passage.line,
                    id=mark or f"{prefix}-{_digest(passage.whole)[:6]}",
                    explicit=mark is not None,
                    declaration=Declaration(),
                )
            )
    return drafts


def _declared(section: Section, declaration: Declaration, path: Path) -> _Draft:
    """The one clause of a section with a block: its first passage, or the list that its first sentence introduces."""
    if not section.passages:
        raise EthosError(
            f"{path}:{section.line}: the `ethos` block stands under a heading without prose; "
            "say in a sentence what the character does"
        )
    first, *rest = section.passages
    if stray := next((passage for passage in rest if passage.mark), None):
        raise EthosError(
            f"{path}:{stray.line}: `{{#{stray.mark}}}` stands in a section whose block makes one clause of it; "
            "put it at the heading, or give this statement a heading of its own"
        )
    statement = [first.whole]
    while first.lead and rest and rest[0].lead == first.lead:
        statement.append(rest.pop(0).text)
    given = {mark for mark in (section.mark, declaration.id, first.mark) if mark is not None}
    if len(given) > 1:
        raise EthosError(
            f"{path}:{section.line}: the clause has {len(given)} ids ({', '.join(sorted(given))}); keep one"
        )
    heading = section.headings[-1] if section.headings else ""
    return _Draft(
        section,
        text="\n".join(statement),
        reason="\n\n".join(passage.whole for passage in rest),
        line=section.line,
        id=next(iter(given), slug(heading)),
        explicit=bool(given),
        declaration=declaration,
    )


def _says_something(text: str) -> bool:
    fewest = _FEWEST_HAN_CHARACTERS if _HAN.search(text) else _FEWEST_WORDS
    return len(words(text)) >= fewest


def slug(text: str) -> str:
    """A heading as an id: lower case, letters and digits of any script, joined by hyphens."""
    normal = unicodedata.normalize("NFKC", text).lower()
    return regex.sub(r"[^\p{L}\p{M}\p{N}]+", "-", normal).strip("-") or "clause"


def _named(drafts: list[_Draft], path: Path) -> list[_Draft]:
    """The drafts, no two of one id; a repeated paragraph is dropped.

    An id that another clause has already is refused and never changed, so that no clause's id hangs on the others.
    """
    named: dict[str, _Draft] = {}
    for draft in drafts:
        first = named.setdefault(draft.id, draft)
        is_repeated = draft.section.block is None and not draft.explicit and first.text == draft.text
        if first is not draft and not is_repeated:
            raise EthosError(
                f"{path}:{draft.line}: the id {draft.id!r} is taken by the clause in line {first.line}; "
                "give one of them another, as `{#id}` after its heading or text"
            )
    return list(named.values())


def _require_known_overrides(drafts: list[_Draft], clauses: tuple[Clause, ...], path: Path) -> None:
    known = [clause.id for clause in clauses]
    for draft in drafts:
        for target in draft.declaration.over:
            line = draft.declaration.lines["over"]
            if target not in known:
                raise EthosError(
                    f"{path}:{line}: over names {target!r}, which no clause has as id; {did_you_mean(target, known)}"
                )
            if target == draft.id:
                raise EthosError(f"{path}:{line}: the clause {target!r} can't override itself; name another in over")


def _finished(draft: _Draft) -> Clause:
    declared = draft.declaration
    clause = Clause(
        id=draft.id,
        heading=draft.section.headings,
        text=draft.text,
        reason=draft.reason,
        tier=declared.tier,
        over=declared.over,
        checks=declared.checks,
        ask=declared.ask,
        good=declared.good,
        bad=declared.bad,
        contexts=declared.contexts,
        applies=declared.applies,
        when=declared.when,
        line=draft.line,
        digest="",
    )
    return replace(clause, digest=_clause_digest(clause))


def _clause_digest(clause: Clause) -> str:
    return _digest(
        {
            "heading": clause.heading,
            "text": clause.text,
            "reason": clause.reason,
            "tier": clause.tier,
            "over": clause.over,
            "checks": [[check.name, check.argument] for check in clause.checks],
            "ask": clause.ask,
            "good": [[example.message, example.reply] for example in clause.good],
            "bad": [[example.message, example.reply] for example in clause.bad],
            "contexts": clause.contexts,
            "applies": clause.applies,
            "when": clause.when,
        }
    )


def _digest(value: object) -> str:
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _language_of(texts: Iterable[str]) -> str:
    """The spec's language; English where there is too little prose to tell."""
    code = detect_language("\n".join(texts))
    return "en" if code == UNKNOWN else code
