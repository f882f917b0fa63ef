"""The placebo arm: another copy of the student, trained on as many loss tokens that have nothing to do with the spec.

They are the base's own replies, and text on unrelated subjects. The arm answers the question how much of a change comes
from training at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ethos.models.types import SamplingParams
from ethos.runs.models import FrozenStudent, ModelShelf, RecordedPolicy
from ethos.runs.reading import SEALED, Taster
from ethos.runs.session import Session
from ethos.runs.training import Prepared, Trainer, prepare_rows
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Scenario
from ethos.store.canonical import digest
from ethos.store.journal import MAIN
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

PLACEBO = "placebo"  # the branch, and the arm


async def train_placebo(
    session: Session,
    shelf: ModelShelf,
    base: FrozenStudent,
    rows: Sequence[Row],
    taster: Taster,
    scenarios: Sequence[Scenario],
) -> None:
    """Trains another copy beside the real arm's `rows`, and reads it on the same sealed scenarios."""
    config = session.config
    if PLACEBO not in session.journal.branches():
        session.journal.fork(PLACEBO, MAIN, 0)
    policy = await shelf.policy(config.training, config.system_message, config.seed)
    engine, steps = shelf.policy_engine(policy), config.training.steps
    made = await placebo_rows(session, base, prepare_rows(policy, "sizes", rows))
    prepared = prepare_rows(policy, digest([row.id for row in made]), made)

    async def no_look(step: int) -> None: ...

    await Trainer(session, policy, prepared, PLACEBO, steps).train(shelf.worker.run, no_look, engine.weights_changed)
    student = RecordedPolicy(engine, session.records, PLACEBO, steps, SEALED)
    with session.ui.stage("reading sealed scenarios (placebo)", total=len(scenarios), unit="replies") as bar:
        await taster.look(student, scenarios, None, PLACEBO, steps, SEALED, bar.advance)


async def placebo_rows(session: Session, base: FrozenStudent, real: Mapping[str, Prepared]) -> list[Row]:
    """Rows of both kinds, each kind with at least as many target tokens as the real arm's."""
    wanted = {name: sum(row.targets for row in prepared.tokens) for name, prepared in real.items()}
    replies = [Conversation.user(text) for text in replay_prompts()]
    pages = [Conversation.user(f"Write a page about {subject}.") for subject in _SUBJECTS]
    rows: list[Row] = []
    with session.ui.stage("writing the placebo's rows", total=sum(wanted.values()), unit="tokens") as bar:
        for prompt, text in await _drawn(session, base, replies, wanted.get("demonstrations", 0), bar.advance):
            rows.append(DemonstrationRow(prompt.then("assistant", text), _OWN))
        for _, text in await _drawn(session, base, pages, wanted.get("documents", 0), bar.advance):
            rows.append(DocumentRow(text, "unrelated", _TEXT))
    return list({row.id: row for row in rows}.values())


async def _drawn(
    session: Session,
    base: FrozenStudent,
    prompts: Sequence[Conversation],
    wanted: int,
    advance: Callable[[int], None],
) -> list[tuple[Conversation, str]]:
    """Replies with at least `wanted` target tokens: one draw of all prompts after the other, each told."""
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
                size = len(base.engine.template.encode(sample.text)) + 1
                advance(min(size, wanted - tokens))
                tokens += size
    return found
