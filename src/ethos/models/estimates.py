"""How many tokens a text may have, where no tokenizer is at hand: what a budget reserves and what a dry run counts."""

from __future__ import annotations

import math

from ethos.spec.conversation import Conversation

_BYTES_PER_TOKEN = 3
_TOKENS_PER_TURN = 8


def estimated_tokens(prompt: Conversation) -> int:
    """A guess on the high side."""
    return sum(_TOKENS_PER_TURN + estimated_text_tokens(message.content) for message in prompt.messages)


def estimated_text_tokens(text: str) -> int:
    """As `estimated_tokens`, of plain text."""
    return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)
