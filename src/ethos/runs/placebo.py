"""The placebo arm: another copy of the student, trained on as many loss tokens that have nothing to do with the spec.

Every row of the real arm has a shadow with just as many target tokens: one of the base's own replies to plain prompts,
or text of its own on unrelated subjects. The copy repeats the real arm's steps, batch by batch, on the shadows; so it
sees what the real arm saw of the optimiser, and of every change that was made while it trained. The arm answers the
question how much of a change comes from training at all.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ethos.errors import EthosError
from ethos.models.types import Sample, SamplingParams
from ethos.progress import Bar
from ethos.runs.models import ModelShelf
from ethos.runs.placebo_draws import MOST_DRAWS, PAGE_TOKENS, SUBJECTS
from ethos.runs.preparation import load_rows
from ethos.runs.prepared import Prepared, prepare_rows
from ethos.runs.session import Session
from ethos.runs.students import FrozenStudent, RecordedPolicy
from ethos.runs.training import Trainer
from ethos.spec.conversation import Conversation
from ethos.spec.types import Json
from ethos.store.journal import MAIN
from ethos.store.parquet_rows import has_rows, write_rows
from ethos.store.records import Records
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, Row
from ethos.tasting.canaries import replay_prompts
from ethos.training.batch import TokenRow, single
from ethos.training.objectives import OBJECTIVES
from ethos.training.policy import Policy

_OWN = Lineage(recipe="placebo", capability_source="the base's own replies")
_TEXT = Lineage(recipe="placebo", capability_source="the base's own text on unrelated subjects")
PLACEBO = "placebo"  # the branch, and the arm

_Fits = Callable[[Sequence[TokenRow], Sequence[int]], bool]


async def train_placebo(
    session: Session, shelf: ModelShelf, base: FrozenStudent, rows: Sequence[Row], purpose: str
) -> RecordedPolicy:
    """Trains another copy beside the real arm, whose `rows` and batch records it shadows; its draws are `purpose`'s."""
    config = session.config
    if PLACEBO not in session.journal.branches():
        session.journal.fork(PLACEBO, MAIN, 0)
    policy = await shelf.policy(config.training, config.system_message, config.seed)
    engine, steps = shelf.policy_engine(policy), config.training.steps
    real = prepare_rows(policy.template, policy.config, "real", rows).objectives
    shadows = await shadows_of(session, base, policy, {name: real[name] for name in _FIT if name in real})
    repeat_batches(session.records, shadows, steps)
    if others := sorted(real.keys() - shadows.keys()):
        session.warn(f"the placebo arm shadows documents and demonstrations alone, not {', '.join(others)}")

    async def no_look(step: int) -> None: ...

    trainer = Trainer(session, policy, shadows, PLACEBO, steps, is_guarded=False)
    await trainer.train(shelf.worker.run, no_look, engine.weights_changed)
    await shelf.worker.run(policy.end_training)
    return RecordedPolicy(engine, session, PLACEBO, steps, purpose)


def repeat_batches(records: Records, shadows: Mapping[str, Prepared], steps: int) -> None:
    """Gives the placebo the real arm's batch records, each row's id replaced by that of its shadow.

    What has no shadow, all but documents and demonstrations, is left out.
    """
    for step in range(1, steps + 1):
        real = records.batch(MAIN, step)
        assert real is not None  # the real arm has trained to the end
        if records.batch(PLACEBO, step) is None:
            rows = {name: taken for name, taken in real["rows"].items() if name in shadows}
            ids = {name: [shadows[name].tokens[i].row_id for i in taken] for name, taken in rows.items()}
            shadow = {name: value for name, value in real.items() if name != "rollouts"}
            records.add_batch(PLACEBO, step, {**shadow, "rows": rows, "row_ids": ids})


async def shadows_of(
    session: Session, base: FrozenStudent, policy: Policy, real: Mapping[str, Prepared]
) -> dict[str, Prepared]:
    """For each objective as many rows as the real arm has, in its order and with the same numbers of target tokens.

    What the base wrote is kept among the run's rows and read back by a later sitting. Warns if it is too little.
    """
    sizes = {name: [row.targets for row in prepared.tokens] for name, prepared in real.items()}

    async def make() -> Json:
        files: dict[str, Json] = {}
        with session.ui.stage("writing the placebo's rows", sum(map(len, sizes.values())), "rows") as bar:
            for name, wanted in sizes.items():
                rows = await _drawn(session, base, policy, name, wanted, bar)
                files[name] = write_rows(session.run, rows[0].kind, rows)[0].name
        return files

    inputs: Json = [[[name, *wanted] for name, wanted in sizes.items()], session.config.seed, base.fingerprint]
    files = await session.once("placebo rows", inputs, make, partial(has_rows, session.run))
    shadows = {}
    for name, prepared in real.items():
        found = _tokens(session, policy, name, load_rows(session, {name: files[name]}))
        fits, cut = _FIT[name]
        if not fits(found, sizes[name]):
            session.warn(
                f"the base wrote too little for a placebo: its {name} are shorter than the real ones, or repeat"
            )
        shadows[name] = replace(prepared, tokens=tuple(cut(found, sizes[name])))
    return shadows


async def _drawn(
    session: Session, base: FrozenStudent, policy: Policy, name: str, sizes: Sequence[int], bar: Bar
) -> list[Row]:
    """One draw of all prompts after the other, until they are enough for the sizes, or are very many.

    Replies that were cut off are left out of a draw, unless all of it were. `bar` counts the sizes that there is enough
    for.
    """
    chat = name == "demonstrations"
    texts = replay_prompts() if chat else [f"Write a page about {subject}." for subject in SUBJECTS]
    prompts, as_row, fits = [Conversation.user(text) for text in texts], _as_reply if chat else _as_page, _FIT[name][0]
    most_tokens = max(*sizes, session.config.tasting.max_tokens) if chat else PAGE_TOKENS
    params = SamplingParams(most_tokens, temperature=0.8, seed=session.config.seed)
    rows: dict[str, Row] = {}
    tokens: dict[str, list[TokenRow]] = {}
    before = bar.done

    def count(row: Row) -> None:
        tokens[row.id] = _tokens(session, policy, name, [row])
        bar.advance(before + _fitting(fits, list(itertools.chain(*tokens.values())), sizes) - bar.done)

    async def drawn(prompt: Conversation, draw: int) -> tuple[Row, bool] | None:
        [sample] = await base.sample(prompt, params, (draw,))
        if not sample.text:
            return None
        row, whole = as_row(prompt, sample), not chat or sample.finish_reason == "stop"
        if whole:
            count(row)
        return row, whole

    for draw in range(MOST_DRAWS):
        made = [found for found in await asyncio.gather(*(drawn(prompt, draw) for prompt in prompts)) if found]
        kept = [row for row, whole in made if whole]
        if not kept:
            kept = [row for row, _ in made]
            for row in kept:
                count(row)
        rows |= {row.id: row for row in kept}
        if bar.done == before + len(sizes):
            break
    if not rows:
        raise EthosError("the base student says nothing at all, so there is no placebo of it; set placebo: false")
    bar.advance(before + len(sizes) - bar.done)
    return list(rows.values())


def _fitting(fits: _Fits, found: Sequence[TokenRow], sizes: Sequence[int]) -> int:
    """For how many of the sizes, the smallest first, these rows are enough."""
    smallest = sorted(sizes)
    return bisect_left(range(1, len(sizes) + 1), True, key=lambda count: not fits(found, smallest[:count]))


def _tokens(session: Session, policy: Policy, name: str, rows: Sequence[Row]) -> list[TokenRow]:
    return OBJECTIVES[name].prepare(rows, policy.template, session.config.training.context_tokens).rows


def fits_replies(found: Sequence[TokenRow], sizes: Sequence[int]) -> bool:
    """Whether each size can have a reply of its own that is at least so long."""
    longest = sorted((row.targets for row in found), reverse=True)
    wanted = sorted(sizes, reverse=True)
    return len(longest) >= len(wanted) and all(has >= size for has, size in zip(longest, wanted, strict=False))


def cut_replies(found: Sequence[TokenRow], sizes: Sequence[int]) -> list[TokenRow]:
    """For each size the reply that is nearest to it and long enough; where none is, the longest there is.

    A reply stands whole, and its last tokens carry the loss, so that its end is learnt as a real one's is.
    """
    free = sorted(found, key=lambda row: row.targets)
    longest = free[-1]
    cut: dict[int, TokenRow] = {}
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        place = bisect_left(free, sizes[index], key=lambda row: row.targets)
        row = free.pop(place) if place < len(free) else longest
        [sequence] = row.sequences
        cut[index] = single(row.row_id, sequence, max(len(row.prompt), len(sequence) - sizes[index]))
    return [cut[index] for index in range(len(sizes))]


def fits_pages(found: Sequence[TokenRow], sizes: Sequence[int]) -> bool:
    """Whether the pages hold a token for each target, and one before each row."""
    return sum(row.tokens for row in found) >= sum(sizes) + len(sizes)


def cut_pages(found: Sequence[TokenRow], sizes: Sequence[int]) -> list[TokenRow]:
    """The pages one after another, cut into rows of these sizes; from the first page again where they don't suffice."""
    stream = itertools.cycle((row.row_id, token) for row in found for token in row.sequences[0])
    cut = []
    for size in sizes:
        taken = list(itertools.islice(stream, size + 1))
        cut.append(single(taken[0][0], [token for _, token in taken], 1))
    return cut


_FIT = {"demonstrations": (fits_replies, cut_replies), "documents": (fits_pages, cut_pages)}


def _as_reply(prompt: Conversation, sample: Sample) -> Row:
    return DemonstrationRow(prompt.then("assistant", sample.text), replace(_OWN, calls=(sample.call,)))


def _as_page(prompt: Conversation, sample: Sample) -> Row:
    return DocumentRow(sample.text, "unrelated", replace(_TEXT, calls=(sample.call,)))
