"""The part of a spec that fits a prompt, within a budget of tokens.

What matters most comes first: the clauses asked for, those that override them, every `must`, the preamble, what else
stands under their headings, and a digest of the rest. No words of our own stand in a frame, so it is in the spec's own
language.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import groupby

import regex

from ethos.spec.language import sentence_ends, sentences, word_ends
from ethos.spec.sections import read_markdown
from ethos.spec.types import Clause, Frame, Spec

CountTokens = Callable[[str], int]
_SOFT_BREAK = regex.compile(r"(?<=\S)\n(?=[^\s#>|*+\-=\d])")  # the end of a line inside a paragraph of Markdown


def frame(spec: Spec, clause_ids: Sequence[str], budget_tokens: int, count_tokens: CountTokens) -> Frame:
    """The frame of some clauses, in at most `budget_tokens` tokens. The same arguments give the same frame.

    In this order, as far as it fits: the clauses, with their headings and reasons; the clauses that override them, the
    same way; each other `must` by its first sentence; the preamble; the others of their sections in full; the rest by
    their first sentences. Clauses too long for the budget are cut after a sentence, or where not one sentence fits,
    after a word. Raises KeyError for an unknown id.
    """
    page = _Page(spec, budget_tokens, count_tokens)
    chosen = [spec.clause(clause_id) for clause_id in dict.fromkeys(clause_ids)]
    for clause in chosen:
        page.add_cut(clause.heading, clause.text)
    for position, clause in enumerate(chosen):
        page.extend_cut(position, clause.text, clause.reason)
    others = [clause for clause in spec.clauses if clause not in chosen]
    in_full = [c for c, (_, shown) in zip(chosen, page.entries, strict=True) if shown == _full(c)]
    overriding = [clause for clause in others if not set(clause.over).isdisjoint(clause_ids)]
    in_full += [clause for clause in overriding if page.add(clause.heading, _full(clause))]
    others = [clause for clause in others if clause not in in_full]
    for clause in others:
        if clause.tier == "must":
            page.add(clause.heading, _short(clause))
    page.add_cut((spec.name,) if spec.is_titled else (), spec.preamble, words_too=False)
    rest = [clause for clause in others if clause.tier != "must"]
    section = {clause.heading for clause in chosen}
    beside = [clause for clause in rest if clause.heading in section and page.add(clause.heading, _full(clause))]
    in_full += beside
    for clause in rest:
        if clause not in beside and not page.add(clause.heading, _short(clause)):
            break
    return _frame(spec, page.text, tuple(clause.id for clause in in_full), count_tokens)


def whole(spec: Spec, budget_tokens: int, count_tokens: CountTokens) -> Frame:
    """The whole text of a spec, in Markdown; cut like a clause if it has more than `budget_tokens` tokens."""
    if count_tokens(spec.text) <= budget_tokens:
        return _frame(spec, spec.text, tuple(clause.id for clause in spec.clauses), count_tokens)
    unwrapped = _SOFT_BREAK.sub(" ", spec.text)
    cut = _cut(unwrapped, lambda cut: count_tokens(spec.text[: len(cut)]) <= budget_tokens, words_too=True)
    text = spec.text[: len(cut)]
    passages = [passage for section in read_markdown(text, spec.name).sections for passage in section.passages]
    shown = {form for passage in passages for form in (passage.text, passage.whole)}
    in_full = (c.id for c in spec.clauses if all(line in shown for line in _full(c).splitlines() if line))
    return _frame(spec, text, tuple(in_full), count_tokens)


class _Page:
    """Texts under their headings, in the order in which they were added, always within the budget."""

    def __init__(self, spec: Spec, budget_tokens: int, count_tokens: CountTokens) -> None:
        self.entries: list[tuple[tuple[str, ...], str]] = []
        self._title = spec.name
        self._budget_tokens = budget_tokens
        self._count_tokens = count_tokens

    @property
    def text(self) -> str:
        """The page as Markdown."""
        return self._render(self.entries)

    def add(self, heading: tuple[str, ...], text: str) -> bool:
        """Adds a text if it fits whole, and tells whether it did."""
        fits = self._fits([*self.entries, (heading, text)])
        if fits:
            self.entries.append((heading, text))
        return fits

    def add_cut(self, heading: tuple[str, ...], text: str, *, words_too: bool = True) -> None:
        """Adds as much of a text as fits, without its heading if not a word fits beside that."""

        def cut_under(heading: tuple[str, ...]) -> str:
            return _cut(text, lambda cut: self._fits([*self.entries, (heading, cut)]), words_too=words_too)

        cut = cut_under(heading)
        if not cut and words_too:
            heading, cut = (), cut_under(())
        self.entries.append((heading, cut))

    def extend_cut(self, position: int, text: str, more: str) -> None:
        """Adds as much as fits of what follows `text`, if the entry at `position` shows that whole."""
        heading, shown = self.entries[position]
        if shown == text and more:
            before, after = self.entries[:position], self.entries[position + 1 :]
            cut = _cut(more, lambda cut: self._fits([*before, (heading, f"{text}\n\n{cut}"), *after]), words_too=False)
            self.entries[position] = (heading, f"{text}\n\n{cut}" if cut else text)

    def _fits(self, entries: list[tuple[tuple[str, ...], str]]) -> bool:
        return self._count_tokens(self._render(entries)) <= self._budget_tokens

    def _render(self, entries: list[tuple[tuple[str, ...], str]]) -> str:
        blocks: list[str] = []
        for heading, group in groupby((entry for entry in entries if entry[1]), key=lambda entry: entry[0]):
            path = heading[1:] if len(heading) > 1 and heading[0] == self._title else heading
            blocks += [f"## {' › '.join(path)}"] if path else []
            for is_short, texts in groupby((text for _, text in group), key=lambda text: text.startswith("- ")):
                blocks.append(("\n" if is_short else "\n\n").join(texts))
        return "\n\n".join(blocks)


def _full(clause: Clause) -> str:
    return f"{clause.text}\n\n{clause.reason}" if clause.reason else clause.text


def _short(clause: Clause) -> str:
    return f"- {next(iter(sentences(clause.text)), clause.text)}"


def _cut(text: str, fits: Callable[[str], bool], *, words_too: bool) -> str:
    """The longest beginning of a text that fits and ends with a sentence or, if there is none, with a word."""
    for ends_in in (sentence_ends, word_ends) if words_too else (sentence_ends,):
        ends = [0, *ends_in(text)]
        first_too_long = bisect_right(ends, False, lo=1, key=lambda end: not fits(text[:end].rstrip()))
        cut = text[: ends[first_too_long - 1]].rstrip()
        if cut:
            return cut
    return ""


def _frame(spec: Spec, text: str, clause_ids: tuple[str, ...], count_tokens: CountTokens) -> Frame:
    total = count_tokens(spec.text)
    share = min(1.0, count_tokens(text) / total) if total else 1.0
    return Frame(text, clause_ids, share, hashlib.sha256(text.encode()).hexdigest()[:32])
