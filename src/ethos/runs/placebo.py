"""The placebo arm's rows: as many loss tokens as the real arm's, of the base's own replies and of unrelated text.

It answers the question how much of a change comes from training at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ethos.models.types import Sample, SamplingParams
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


async def placebo_rows(session: Session, base: FrozenStudent, real: Mapping[str, Prepared]) -> list[Row]:
    """Rows of both kinds, each kind with at least as many target tokens as the real arm's."""
    encode = base.engine.template.encode
    wanted = {name: sum(row.targets for row in prepared.tokens) for name, prepared in real.items()}
    rows: list[Row] = []
    replies = await _drawn(session, base, [Conversation.user(text) for text in replay_prompts()])
    taken = 0
    for prompt, sample in replies:
        if taken < wanted.get("demonstrations", 0):
            rows.append(DemonstrationRow(prompt.then("assistant", sample.text), _OWN))
            taken += len(encode(sample.text)) + 1
    asked = [Conversation.user(f"Write a page about {subject}.") for subject in _SUBJECTS]
    taken = 0
    for _, sample in await _drawn(session, base, asked):
        if taken < wanted.get("documents", 0):
            rows.append(DocumentRow(sample.text, "unrelated", _TEXT))
            taken += len(encode(sample.text)) + 1
    return list({row.id: row for row in rows}.values())


async def _drawn(
    session: Session, base: FrozenStudent, prompts: Sequence[Conversation]
) -> list[tuple[Conversation, Sample]]:
    """Sixteen replies to each prompt, one draw of all prompts after the other."""
    params = SamplingParams(max_tokens=128, temperature=0.8, seed=session.config.seed)
    drawn = await asyncio.gather(*(base.sample(prompt, params, range(16)) for prompt in prompts))
    pairs = [(p, samples[draw]) for draw in range(16) for p, samples in zip(prompts, drawn, strict=True)]
    return [(prompt, sample) for prompt, sample in pairs if sample.text]
