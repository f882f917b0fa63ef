"""Markdown cut into sections: headings, the prose under each, and its `ethos` block, with line numbers.

Prose is paragraphs and the items of lists. Code, tables, quotations, HTML and images are not prose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import regex
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ethos.errors import EthosError
from ethos.spec.language import sentence_ends

_MARK = regex.compile(r"\s*\{#([\p{L}\p{M}\p{N}_.:-]+)\}\s*$")
_MARK_IN_SOURCE = regex.compile(r"[ \t]*\{#[\p{L}\p{M}\p{N}_.:-]+\}(?=[ \t#]*$)")
_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef]"
_CJK_LINE_BREAK = regex.compile(rf"(?<={_CJK})\n(?={_CJK})")
_SPACE = regex.compile(r"[ \t\n\f]+")
_FRONT_MATTER = regex.compile(r"\A---[ \t]*\n[\w-]+[ \t]*:.*?\n---[ \t]*(?:\n|\Z)", regex.DOTALL)
_OPAQUE = {"blockquote", "table"}
_SENTENCE_ENDS = (".", "!", "?", ":", ";", "…", "。", "！", "？", "：", "；")


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph or a list item, as plain text."""

    text: str
    lead: str  # the sentence ending in a colon that introduced its list, or ""
    mark: str | None  # its `{#id}`
    line: int

    @property
    def whole(self) -> str:
        """The text after its lead."""
        return _join((self.lead, self.text))


@dataclass(frozen=True, slots=True)
class Block:
    """The YAML of an `ethos` block; `line` is the fence's."""

    yaml: str
    line: int


@dataclass(slots=True)
class Section:
    """A heading and what stands under it, up to the next heading. The first has no heading and may be empty."""

    headings: tuple[str, ...]  # outermost first, its own last
    level: int  # 0 before any heading
    mark: str | None
    line: int
    passages: list[Passage] = field(default_factory=list)
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A Markdown text and its sections in order."""

    sections: tuple[Section, ...]
    text: str  # without front matter, `ethos` blocks and `{#id}` marks


def read_markdown(text: str, where: str) -> Document:
    """Cuts a text into sections, in time linear in its length; `where` names it in errors.

    Raises:
        EthosError: for an `ethos` block that is not closed, is nested in a list or quotation, or is the second of
            its section.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = _FRONT_MATTER.sub(lambda match: "\n" * match.group().count("\n"), text)
    reader = _Reader(text.split("\n"), where)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return Document(tuple(reader.read(tokens)), reader.source_without_marks())


class _Reader:
    """One walk over the tokens of a document."""

    def __init__(self, lines: list[str], where: str) -> None:
        self._lines = lines
        self._where = where
        self._hidden: set[int] = set()  # lines of `ethos` blocks, from 0
        self._marked: set[int] = set()  # lines that may end in a mark, from 0

    def read(self, tokens: list[Token]) -> list[Section]:
        section = Section((), 0, None, 1)
        sections = [section]
        path: list[tuple[int, str]] = []
        item: list[Token] | None = None  # the inline tokens of the list item being read
        opaque = 0
        lead = ""
        for before, token in zip([None, *tokens], tokens, strict=False):
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if kind in _OPAQUE:
                opaque += token.nesting
            elif token.type == "fence" and token.info.strip().lower().split(maxsplit=1)[:1] == ["ethos"]:
                self._take_block(token, section)
            elif opaque:
                continue
            elif token.type in ("bullet_list_open", "ordered_list_open") and token.level == 0:
                follows = before is not None and before.type == "paragraph_close"
                lead = _take_lead(section.passages) if follows else ""
            elif kind == "list_item" and token.level == 1:
                if token.nesting == 1:
                    item = []
                else:
                    section.passages += [self._passage(item, lead)] if item else []
                    item = None
            elif token.type == "inline" and item is not None:
                item.append(token)
            elif token.type == "inline" and before is not None and before.type == "heading_open":
                section = self._section(int(before.tag[1]), token, path)
                sections.append(section)
            elif token.type == "inline":
                section.passages.append(self._passage([token], ""))
        for each in sections:
            each.passages = [p for p in each.passages if p.text]
        return sections

    def source_without_marks(self) -> str:
        """The document's Markdown as models see it; at most one empty line stands where a block was."""
        kept: list[str] = []
        hidden_before = False
        for number, line in enumerate(self._lines):
            hidden = number in self._hidden
            closes_a_gap = hidden_before and not line.strip() and (not kept or not kept[-1].strip())
            if not hidden and not closes_a_gap:
                kept.append(_MARK_IN_SOURCE.sub("", line) if number in self._marked else line)
            hidden_before = hidden or closes_a_gap
        return "\n".join(kept).strip("\n") + "\n"

    def _section(self, level: int, title: Token, path: list[tuple[int, str]]) -> Section:
        text, mark = self._plain(title)
        while path and path[-1][0] >= level:
            path.pop()
        if text:
            path.append((level, text))
        return Section(tuple(heading for _, heading in path), level, mark, _line(title))

    def _passage(self, inlines: list[Token], lead: str) -> Passage:
        texts, marks = zip(*(self._plain(inline) for inline in inlines), strict=True)
        mark = next((m for m in marks if m is not None), None)
        return Passage(_join(texts), lead, mark, _line(inlines[0]))

    def _plain(self, inline: Token) -> tuple[str, str | None]:
        text = plain_text(inline)
        found = _MARK.search(text)
        if found is None:
            return text, None
        self._marked.update(range(*(inline.map or (0, 0))))
        return text[: found.start()], str(found.group(1))

    def _take_block(self, fence: Token, section: Section) -> None:
        start, end = fence.map or (0, 0)
        line = start + 1
        if fence.level > 0:
            raise EthosError(
                f"{self._where}:{line}: the `ethos` block stands inside a list or a quotation; "
                "move it to the left margin, under its heading"
            )
        if end - start < 2 or not self._lines[end - 1].strip().startswith(fence.markup):
            raise EthosError(f"{self._where}:{line}: the `ethos` block is never closed; end it with {fence.markup}")
        if section.block is not None:
            raise EthosError(
                f"{self._where}:{line}: a second `ethos` block in the section that has one in line "
                f"{section.block.line}; give each clause a heading of its own"
            )
        section.block = Block(fence.content, line)
        self._hidden.update(range(start, end))


def plain_text(inline: Token) -> str:
    """The words of an inline token, without their marks. A line break is a space, or nothing between CJK characters."""
    text = "".join(_texts(inline))
    return _SPACE.sub(" ", _CJK_LINE_BREAK.sub("", text)).strip()


def _texts(inline: Token) -> Iterator[str]:
    for child in inline.children or ():
        if child.type in ("softbreak", "hardbreak"):
            yield "\n"
        elif child.type not in ("image", "html_inline"):
            yield child.content


def _take_lead(passages: list[Passage]) -> str:
    """Takes the sentence that introduces a list off the paragraph before it, if it ends in a colon."""
    if not passages or not passages[-1].text.endswith((":", "：")):
        return ""
    paragraph = passages.pop()
    start = next(reversed(sentence_ends(paragraph.text)[:-1]), 0)
    rest, lead = paragraph.text[:start].rstrip(), paragraph.text[start:]
    if rest or paragraph.mark:
        passages.append(Passage(rest or paragraph.text, "", paragraph.mark, paragraph.line))
    return lead


def _join(texts: tuple[str, ...]) -> str:
    """One text of several: a space between sentences, a semicolon after a part that doesn't end as one."""
    joined = ""
    for text in filter(None, texts):
        chinese = regex.match(_CJK, text) is not None
        if joined and not joined.endswith(_SENTENCE_ENDS):
            joined += "；" if chinese else ";"
        joined += text if chinese or not joined else f" {text}"
    return joined


def _line(token: Token) -> int:
    return (token.map[0] if token.map else 0) + 1
