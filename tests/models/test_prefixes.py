from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ethos.models.prefixes import Prefix, PrefixCache, shared_length

tokens = st.lists(st.integers(0, 3), max_size=12)


def prefix(*ids: int) -> Prefix:
    held = torch.zeros(2, 1, len(ids), 4)
    return Prefix(np.array(ids), held, held.clone())


SIZE = prefix(1, 2, 3).size_bytes


@given(tokens, tokens)
def test_the_shared_length_is_that_of_the_longest_common_beginning(a: list[int], b: list[int]) -> None:
    length = shared_length(np.array(a, dtype=int), np.array(b, dtype=int))
    assert a[:length] == b[:length]
    assert a[: length + 1] != b[: length + 1] or length == len(a) == len(b)


def test_the_size_is_of_keys_and_values() -> None:
    assert SIZE == 2 * (2 * 1 * 3 * 4) * 4


def test_the_longest_shared_beginning_is_found_also_inside_an_entry() -> None:
    cache = PrefixCache(10 * SIZE, block=1)
    cache.add(prefix(1, 2, 9))
    cache.add(prefix(1, 2, 3, 4, 5))
    found, length = cache.longest(np.array([1, 2, 3, 7]))
    assert found is not None
    assert found.tokens.tolist() == [1, 2, 3, 4, 5]
    assert length == 3
    assert cache.longest(np.array([8])) == (None, 0)


def test_a_beginning_shorter_than_a_block_is_not_shared() -> None:
    cache = PrefixCache(10 * SIZE, block=3)
    cache.add(prefix(1, 2))  # nothing could ever be found by it
    cache.add(prefix(1, 2, 3, 4, 5, 6, 7))
    assert cache.longest(np.array([1, 2])) == (None, 0)
    assert cache.longest(np.array([1, 2, 9, 4])) == (None, 0)
    assert cache.longest(np.array([1, 2, 3, 4, 9]))[1] == 4


def test_the_entry_of_the_same_tokens_comes_before_one_used_later() -> None:
    cache = PrefixCache(10 * SIZE, block=2)
    cache.add(prefix(1, 2, 3))
    cache.add(prefix(1, 2, 4))
    found, length = cache.longest(np.array([1, 2, 3]))
    assert found is not None
    assert (found.tokens.tolist(), length) == ([1, 2, 3], 3)


@given(st.lists(tokens.filter(len), max_size=12), st.lists(tokens, max_size=4), st.integers(1, 3))
def test_whatever_was_added_and_dropped_the_most_whole_blocks_are_found(
    added: list[list[int]], asked: list[list[int]], block: int
) -> None:
    cache = PrefixCache(4 * SIZE, block)
    for ids in added:
        cache.add(prefix(*ids))
    held = [entry.tokens for entry in cache._entries.values()]
    for ids in asked:
        wanted = np.array(ids, dtype=int)
        most = max((shared_length(entry, wanted) // block for entry in held), default=0)
        assert cache.longest(wanted)[1] // block == most


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache(2 * SIZE, block=1)
    cache.add(prefix(1, 1, 1))
    cache.add(prefix(2, 2, 2))
    cache.longest(np.array([1]))
    cache.add(prefix(3, 3, 3))
    assert [cache.longest(np.array([first]))[1] for first in (1, 2, 3)] == [1, 0, 1]


def test_an_entry_larger_than_the_limit_is_not_kept_and_drives_nothing_out() -> None:
    cache = PrefixCache(SIZE, block=1)
    cache.add(prefix(1, 1, 1))
    cache.add(prefix(2, 2, 2, 2))
    assert [cache.longest(np.array([first]))[1] for first in (1, 2)] == [1, 0]


def test_an_entry_added_twice_counts_once() -> None:
    cache = PrefixCache(2 * SIZE, block=1)
    for entry in (prefix(1, 1, 1), prefix(1, 1, 1), prefix(2, 2, 2)):
        cache.add(entry)
    assert [cache.longest(np.array([first]))[1] for first in (1, 2)] == [1, 1]


def test_after_clearing_there_is_room_for_all_again() -> None:
    cache = PrefixCache(2 * SIZE, block=1)
    cache.add(prefix(1, 1, 1))
    cache.clear()
    assert cache.longest(np.array([1]))[1] == 0
    cache.add(prefix(2, 2, 2))
    cache.add(prefix(3, 3, 3))
    assert [cache.longest(np.array([first]))[1] for first in (2, 3)] == [1, 1]
