"""What commands print: columns, and text of others made harmless."""

from __future__ import annotations

from collections.abc import Sequence

from ethos.progress import harmless


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, two blanks apart; the last one is as long as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    padded = [[cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)] for row in rows]
    return "\n".join("  ".join([*cells, row[-1]]).rstrip() for cells, row in zip(padded, rows, strict=True))


def indented(text: str, by: int = 4) -> str:
    """Text as a block of its own."""
    return "\n".join(" " * by + line for line in harmless(text).splitlines())
