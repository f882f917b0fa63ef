from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ethos.training.batch import Batch, Completion, TokenRow, pack, single

ids = st.integers(0, 99)
completions = st.lists(ids, min_size=1, max_size=9).flatmap(
    lambda tokens: st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)).map(
        lambda mask: Completion(tuple(tokens), tuple(mask) if any(mask) else None)
    )
)
rows = st.lists(
    st.builds(
        TokenRow,
        st.just("r"),
        st.lists(ids, min_size=1, max_size=9).map(tuple),
        st.lists(completions, min_size=1, max_size=4).map(tuple),
        is_whole=st.booleans(),
    ),
    max_size=8,
)


def sequences(batches: list[Batch]) -> list[tuple[int, ...]]:
    """What each completion's last token sees."""
    return [tuple(b.tokens_N[span.tokens()].tolist()) for b in batches for span in b.spans]


@given(rows, st.integers(2, 40))
def test_packing_keeps_every_completion_in_order_within_the_limit(given_rows: list[TokenRow], limit: int) -> None:
    batches = pack(given_rows, limit)
    assert sequences(batches) == [(*row.prompt, *c.tokens) for row in given_rows for c in row.completions]
    for batch in batches:
        assert batch.tokens <= limit or len(batch.rows) == 1
        assert batch.tokens <= limit or batch.rows[0].is_whole or batch.completions == 1
    for first, second in pairwise(batches):
        assert first.tokens + second.rows[0].tokens > limit


@given(rows, st.integers(2, 60), st.floats(0, 1))
def test_a_prompt_that_is_laid_out_again_takes_its_share_of_the_limit(
    given_rows: list[TokenRow], limit: int, repeat_cost: float
) -> None:
    batches = pack(given_rows, limit, repeat_cost)
    assert sequences(batches) == [(*row.prompt, *c.tokens) for row in given_rows for c in row.completions]
    for batch in batches:
        cost = sum(row.size.cost(repeat_cost) for row in batch.rows)
        assert cost <= limit + 1e-9 or (len(batch.rows) == 1 and (batch.rows[0].is_whole or batch.completions == 1))
        assert cost == pytest.approx(
            batch.tokens + repeat_cost * (sum(span.length for span in batch.spans) - batch.tokens)
        )


@given(rows)
def test_a_prompt_is_computed_once_for_all_its_completions(given_rows: list[TokenRow]) -> None:
    for batch in pack(given_rows, 10_000):
        assert batch.tokens == sum(row.tokens for row in given_rows)
        owned = [token for span in batch.spans for token in span.own]
        assert owned == list(range(batch.tokens))


@given(rows, st.integers(2, 40))
def test_a_target_is_the_token_after_its_source(given_rows: list[TokenRow], limit: int) -> None:
    wanted = [
        (*row.prompt, *completion.tokens)[: len(row.prompt) + place + 1]
        for row in given_rows
        for completion in row.completions
        for place in range(len(completion.tokens))
        if completion.mask is None or completion.mask[place]
    ]
    found = []
    for batch in pack(given_rows, limit):
        seen = [span.tokens() for span in batch.spans]
        columns = (batch.sources_M, batch.targets_M, batch.completions_M)
        for source, target, completion in zip(*(column.tolist() for column in columns), strict=True):
            flat = seen[completion]
            place = int((flat == source).nonzero()[0])
            assert batch.positions_N[flat].tolist() == list(range(len(flat)))
            found.append((*batch.tokens_N[flat[: place + 1]].tolist(), target))
    assert found == wanted


def test_signals_lie_with_what_they_are_of() -> None:
    first = TokenRow(
        "a",
        (1,),
        (
            Completion((2, 3), (False, True), {"old": (0.5,), "gain": 1.0}),
            Completion((4,), None, {"old": (0.25,), "gain": -1.0}),
        ),
        {"label": 0.75},
    )
    second = TokenRow("b", (1,), (Completion((5, 6), None, {"old": (1.0, 2.0), "gain": 3.0}),), {"label": 0.0})
    [batch] = pack([first, second], 100)
    assert batch.signals["old"].tolist() == [0.5, 0.25, 1.0, 2.0]
    assert batch.signals["gain"].tolist() == [1.0, -1.0, 3.0]
    assert batch.signals["label"].tolist() == [0.75, 0.0]
    assert batch.completions_M.tolist() == [0, 1, 2, 2]
    assert batch.lasts_C.tolist() == [2, 3, 6]
    assert batch.sum_by_completion(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [1.0, 2.0, 7.0]
    assert batch.targets_by_completion().tolist() == [1.0, 1.0, 2.0]


def test_a_signal_that_some_lack_is_refused() -> None:
    lacking = TokenRow("b", (1,), (Completion((2,)),))
    with pytest.raises(ValueError, match="old"):
        pack([TokenRow("a", (1,), (Completion((2,), None, {"old": 1.0}),)), lacking], 100)


@pytest.mark.parametrize(
    ("prompt", "completion", "what"),
    [
        ((), Completion((1,)), "a token before it"),
        ((1,), Completion(()), "no target"),
        ((1,), Completion((1, 2), (False, False)), "no target"),
        ((1,), Completion((1, 2), (True,)), "differ in number"),
        ((1,), Completion((1, 2), (True, False), {"old": (1.0, 2.0)}), "2 values"),
    ],
)
def test_a_row_that_can_not_be_computed_is_refused(prompt: tuple[int, ...], completion: Completion, what: str) -> None:
    with pytest.raises(ValueError, match=f"row a: .*{what}"):
        TokenRow("a", prompt, (completion,))


def test_a_prompt_without_a_completion_can_not_be_packed() -> None:
    with pytest.raises(ValueError, match="row a: has no completion"):
        pack([TokenRow("a", (1, 2), ())], 100)


def test_a_single_sequence_is_split_at_its_first_target() -> None:
    assert single("a", [1, 2, 3], 2) == TokenRow("a", (1, 2), (Completion((3,)),))
