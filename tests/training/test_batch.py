from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.training.batch import TokenRow, pack

rows = st.lists(
    st.lists(st.integers(0, 99), min_size=2, max_size=20).flatmap(
        lambda tokens: st.integers(1, len(tokens) - 1).map(lambda start: TokenRow("r", tuple(tokens), start))
    ),
    max_size=12,
)


@given(rows, st.integers(2, 40))
def test_packing_keeps_every_row_in_order_within_the_limit(given_rows: list[TokenRow], limit: int) -> None:
    batches = pack(given_rows, limit)
    pieces = [piece for b in batches for piece in b.tokens_N.split(list(b.lengths))]
    assert [tuple(piece.tolist()) for piece in pieces] == [row.tokens for row in given_rows]
    assert all(batch.tokens <= limit or len(batch.lengths) == 1 for batch in batches)
    for first, second in pairwise(batches):
        assert first.tokens + second.lengths[0] > limit


@given(rows)
def test_a_target_is_the_token_after_its_source(given_rows: list[TokenRow]) -> None:
    for batch in pack(given_rows, 1000):
        assert batch.tokens_N[batch.sources_M + 1].tolist() == batch.targets_M.tolist()
        assert batch.targets_M.tolist() == [token for row in given_rows for token in row.tokens[row.target_start :]]
        assert batch.positions_N.tolist() == [i for row in given_rows for i in range(len(row.tokens))]
        assert batch.targets_M.shape[0] == sum(row.targets for row in given_rows)


@pytest.mark.parametrize("start", [0, 3, 4])
def test_a_row_without_a_target_or_without_a_token_before_it_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="row a"):
        TokenRow("a", (1, 2, 3), start)
