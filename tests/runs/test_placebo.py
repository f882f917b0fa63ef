"""The placebo arm: a shadow of each row of the real arm, of its size, and the real arm's steps repeated on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.errors import EthosError
from ethos.models.types import Sample, SamplingParams, Usage
from ethos.progress import Bar, QuietProgress
from ethos.runs.placebo import PLACEBO, cut_pages, cut_replies, fits_pages, fits_replies, repeat_batches, shadows_of
from ethos.runs.session import Session
from ethos.runs.training import Prepared, Trainer
from ethos.spec.conversation import Conversation
from ethos.store.journal import MAIN
from ethos.store.requests import file_request
from ethos.store.trace import find_row
from ethos.training.batch import TokenRow, single
from ethos.training.policy import Policy
from runs.training_run import STEPS, no_look, policy_of, prepared, train

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=20)


class Base:
    """Says the draw, and then the prompt, or nothing at all."""

    def __init__(self, *, silent: bool = False, cut_off: str = "") -> None:
        self.silent, self.cut_off, self.draws = silent, cut_off, 0
        self.fingerprint = f"base{cut_off}"

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int]) -> list[Sample]:
        self.draws += len(draws)
        return [
            Sample(
                text="" if self.silent else f"{draw} {prompt.last_user}",
                finish_reason="length" if self.cut_off and self.cut_off in prompt.last_user else "stop",
                usage=Usage(1, 1),
                draw=draw,
            )
            for draw in draws
        ]


def shadows(session: Session, policy: Policy, base: Any) -> dict[str, Prepared]:
    return asyncio.run(shadows_of(session, base, policy, prepared(policy)))


def drawn(lengths: Sequence[int]) -> list[TokenRow]:
    return [single(f"row{n}", tuple(range(3 + length)), 3) for n, length in enumerate(lengths)]


def test_each_row_has_a_shadow_with_as_many_targets(session: Session, folder: Path) -> None:
    policy = policy_of(folder, session.config)
    made = shadows(session, policy, Base())
    for name, real in prepared(policy).items():
        assert [row.targets for row in made[name].tokens] == [row.targets for row in real.tokens]
        assert {row.row_id for row in made[name].tokens}.isdisjoint(row.row_id for row in real.tokens)
        for row in made[name].tokens:
            lineage = find_row(session.run, row.row_id).lineage
            assert not lineage.clause_ids
            assert lineage.capability_source


def test_the_shadows_are_read_back_and_not_drawn_again(session: Session, folder: Path) -> None:
    policy, base = policy_of(folder, session.config), Base()
    first = shadows(session, policy, base)
    drawn = base.draws
    assert shadows(session, policy, base) == first
    assert base.draws == drawn


def test_shadows_whose_file_is_gone_are_written_again(session: Session, folder: Path) -> None:
    policy = policy_of(folder, session.config)
    first = shadows(session, policy, Base())
    for path in session.run.rows.iterdir():
        path.unlink()
    assert shadows(session, policy, Base()) == first


def test_replies_that_were_cut_off_are_left_out_unless_all_were(session: Session, folder: Path) -> None:
    policy = policy_of(folder, session.config)
    made = shadows(session, policy, Base(cut_off="you"))["demonstrations"]
    for row in made.tokens:
        assert "you" not in find_row(session.run, row.row_id).conversation.last_user
    assert shadows(session, policy, Base(cut_off=" "))


def test_the_bar_counts_rows_as_the_base_writes_and_ends_full(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what the base wrote is too little."""
    monkeypatch.setattr("ethos.runs.placebo.MOST_DRAWS", 1)
    counted: list[int] = []

    class Counting(QuietProgress):
        def _change(self, bar: Bar) -> None:
            counted.append(bar.done)

    policy = policy_of(folder, session.config)
    shadows(replace(session, ui=Counting()), policy, Base())
    assert counted == sorted(counted)
    assert len(set(counted)) > len(prepared(policy))
    assert counted[-1] == sum(len(real.tokens) for real in prepared(policy).values())


def test_a_base_that_writes_too_little_is_told_of(
    session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethos.runs.placebo.MOST_DRAWS", 1)
    monkeypatch.setattr("ethos.runs.placebo.SUBJECTS", ("bread",))
    shadows(session, policy_of(folder, session.config), Base())
    [warning] = session.stages.notices("warning")
    assert warning.startswith("the base wrote too little for a placebo: its documents are shorter")


def test_a_base_that_says_nothing_is_an_error_that_names_the_mend(session: Session, folder: Path) -> None:
    with pytest.raises(EthosError, match="set placebo: false"):
        shadows(session, policy_of(folder, session.config), Base(silent=True))


def test_every_step_of_the_real_arm_is_repeated_with_all_that_was_changed(session: Session, folder: Path) -> None:
    """As many loss tokens in each step, at the learning rate that was in force there."""
    from runs.test_training import controls_of

    async def look(step: int) -> None:
        if step == 5:
            file_request(session.run, "adjust", {"changes": {"lr": 0.001, "batch_rows": 7}}, "ada", "too fast")

    policy = policy_of(folder, session.config)
    asyncio.run(train(session, policy, look, controls_of(session)))
    made = shadows(session, policy, Base())
    session.journal.fork(PLACEBO, MAIN, 0)
    for _ in range(2):  # a kill may come between two records
        repeat_batches(session.records, made, STEPS)

    async def run_job(job: Any, *arguments: Any) -> Any:
        return job(*arguments)

    copy = policy_of(folder, session.config)
    trainer = Trainer(session, copy, made, PLACEBO, STEPS)
    asyncio.run(trainer.train(run_job, no_look, lambda fingerprint: None))
    for step in range(1, STEPS + 1):
        real, placebo = (session.records.metrics_at(branch, step) for branch in (MAIN, PLACEBO))
        assert placebo.keys() - {"seconds.look"} == real.keys() - {"seconds.look"}
        for name in real:
            if name.startswith("units.") or name == "lr":
                assert placebo[name] == real[name]
            if name.startswith("loss."):
                assert placebo[name] != real[name]


@given(SIZES, SIZES)
def test_a_reply_stands_whole_and_its_last_tokens_carry_loss(lengths: list[int], sizes: list[int]) -> None:
    found = drawn(lengths)
    cut = cut_replies(found, sizes)
    by_id = {row.row_id: row for row in found}
    for row, size in zip(cut, sizes, strict=True):
        assert row.sequences == by_id[row.row_id].sequences
        assert row.targets <= size
    if fits_replies(found, sizes):
        assert [row.targets for row in cut] == sizes
        assert len({row.row_id for row in cut}) == len(sizes)
    else:
        assert max(row.targets for row in cut) <= max(lengths)


@given(SIZES, SIZES)
def test_pages_follow_one_another_and_start_again_only_at_their_end(lengths: list[int], sizes: list[int]) -> None:
    found = drawn(lengths)
    cut = cut_pages(found, sizes)
    assert [row.targets for row in cut] == sizes
    stream = [token for row in found for token in row.sequences[0]]
    laid = [token for row in cut for token in row.sequences[0]]
    assert laid == [stream[place % len(stream)] for place in range(len(laid))]
    assert fits_pages(found, sizes) == (len(stream) >= len(laid))
