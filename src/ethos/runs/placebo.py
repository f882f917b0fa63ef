"""The placebo arm's rows: as many loss tokens as the real arm's, of the base's own replies and of unrelated text.

It answers the question how much of a change comes from training at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ethos.models.types import SamplingParams
from ethos.runs.models import FrozenStudent
from ethos.runs.session import Session
from ethos.runs.training import Prepared
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, Row
from ethos.tasting.canaries import replay_prompts

_OWN = Lineage(recipe="placebo", capability_source="the base's own replies")
_TEXT = Lineage(recipe="placebo", capability_source="the base's own text on unrelated subjects")
_SUBJECTS = (
    "the sea",
    "a market",
    "an old bridge",
    "the moon",
    "a garden in spring",
    "trains",
    "bread",
    "a small town",
)


_MOST_DRAWS = 32  # of each prompt
_MAX_TOKENS = 128


async def placebo_rows(session: Session, base: FrozenStudent, real: Mapping[str, Prepared]) -> list[Row]:
    """Rows of both kinds, each kind with at least as many target tokens as the real arm's."""
    wanted = {name: sum(row.targets for row in prepared.tokens) for name, prepared in real.items()}
    replies = [Conversation.user(text) for text in replay_prompts()]
    pages = [Conversation.user(f"Write a page about {subject}.") for subject in _SUBJECTS]
    rows: list[Row] = []
    for prompt, text in await _drawn(session, base, replies, wanted.get("demonstrations", 0)):
        rows.append(DemonstrationRow(prompt.then("assistant", text), _OWN))
    for _, text in await _drawn(session, base, pages, wanted.get("documents", 0)):
        rows.append(DocumentRow(text, "unrelated", _TEXT))
    return list({row.id: row for row in rows}.values())


async def _drawn(
    session: Session, base: FrozenStudent, prompts: Sequence[Conversation], wanted: int
) -> list[tuple[Conversation, str]]:
    """Replies with at least `wanted` target tokens: one draw of all prompts after the other."""
    params = SamplingParams(max_tokens=_MAX_TOKENS, temperature=0.8, seed=session.config.seed)
    found: list[tuple[Conversation, str]] = []
    tokens = 0
    for draw in range(_MOST_DRAWS):
        if tokens >= wanted:
            break
        drawn = await asyncio.gather(*(base.sample(prompt, params, (draw,)) for prompt in prompts))
        for prompt, [sample] in zip(prompts, drawn, strict=True):
            if tokens < wanted and sample.text:
                found.append((prompt, sample.text))
                tokens += len(base.engine.template.encode(sample.text)) + 1
    return found
