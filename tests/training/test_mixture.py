from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.training.mixture import Cursor, RowSet, share_slots, take_rows

weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 10), max_size=6)
seeds = st.integers(0, 1000)


@given(weights, st.integers(1, 64), seeds, seeds)
def test_shares_fill_the_slots_and_leave_out_nobody_who_has_a_weight(
    given_weights: dict[str, float], slots: int, seed: int, step: int
) -> None:
    shares = share_slots(given_weights, slots, seed, step)
    active = {name for name, weight in given_weights.items() if weight > 0}
    assert set(shares) == active
    assert all(count >= 1 for count in shares.values())
    assert sum(shares.values()) == (max(slots, len(active)) if active else 0)
    assert shares == share_slots(given_weights, slots, seed, step)


@given(weights, st.integers(1, 64), seeds, seeds)
def test_a_share_is_its_proportion_rounded_up_or_down(
    given_weights: dict[str, float], slots: int, seed: int, step: int
) -> None:
    total = sum(given_weights.values())
    proportions = {name: slots * weight / total for name, weight in given_weights.items() if weight > 0}
    if min(proportions.values(), default=0) >= 1:
        shares = share_slots(given_weights, slots, seed, step)
        assert all(abs(shares[name] - proportion) < 1 + 1e-9 for name, proportion in proportions.items())


@pytest.mark.parametrize("parts", [{"a": 1.0, "b": 0.25}, {"a": 3.0, "b": 2.0, "c": 2.0}, dict.fromkeys("abcde", 0.7)])
def test_over_many_steps_shares_are_proportional(parts: dict[str, float]) -> None:
    steps, slots = 4000, 8
    seen: Counter[str] = Counter()
    for step in range(steps):
        seen.update(share_slots(parts, slots, 0, step))
    for name, weight in parts.items():
        assert seen[name] / (steps * slots) == pytest.approx(weight / sum(parts.values()), abs=0.003)


@given(st.integers(1, 30), st.lists(st.integers(0, 17), max_size=8), seeds)
def test_every_epoch_is_a_permutation_however_it_is_cut_into_steps(size: int, counts: list[int], seed: int) -> None:
    rows, cursor, taken = RowSet("documents", "v1", size), None, []
    for count in counts:
        indices, cursor = take_rows(rows, cursor, count, seed)
        taken += indices
    at_once, _ = take_rows(rows, None, len(taken), seed)
    assert taken == at_once
    for start in range(0, len(taken), size):
        epoch = taken[start : start + size]
        assert len(set(epoch)) == len(epoch)
        assert all(0 <= index < size for index in epoch)


def test_epochs_objectives_versions_and_seeds_have_orders_of_their_own() -> None:
    def order(objective: str = "documents", version: str = "v1", seed: int = 0) -> tuple[int, ...]:
        return tuple(take_rows(RowSet(objective, version, 40), None, 40, seed)[0])

    second_epoch = tuple(take_rows(RowSet("documents", "v1", 40), Cursor("v1", 40), 40, 0)[0])
    assert len({order(), order("demonstrations"), order(version="v2"), order(seed=1), second_epoch}) == 5


def test_the_same_cursor_gives_the_same_rows_and_a_new_version_starts_anew() -> None:
    cursor = Cursor("v1", 7)
    first, after = take_rows(RowSet("documents", "v1", 20), cursor, 5, 0)
    assert take_rows(RowSet("documents", "v1", 20), cursor, 5, 0) == (first, after)
    assert after == Cursor("v1", 12)
    changed = RowSet("documents", "v2", 20)
    assert take_rows(changed, cursor, 5, 0) == take_rows(changed, None, 5, 0)
