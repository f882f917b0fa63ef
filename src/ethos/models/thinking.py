"""Thinking parts: what a model writes between `<think>` and `</think>` is not part of its reply."""

from __future__ import annotations

OPEN = "<think>"
CLOSE = "</think>"


def split_thinking(text: str) -> tuple[str | None, str]:
    """The thinking, or None where there is none, and the reply, both without white space around them.

    Only thinking that opens the text counts; a reply may mention the tags. Templates that write `<think>`
    themselves leave a text with the closing tag alone: what stands before it is thinking. Cut off before
    `</think>`, all of it is thinking and the reply is empty. A text without thinking comes back as it is.
    """
    body = text.lstrip()
    if body.startswith(OPEN):
        thinking, _, answer = body.removeprefix(OPEN).partition(CLOSE)
        return thinking.strip(), answer.strip()
    before, closed, answer = text.partition(CLOSE)
    if closed and OPEN not in before:
        return before.strip(), answer.strip()
    return None, text
