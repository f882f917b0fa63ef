"""Values keep their types on the way through the wall, and are compared by type."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.sandbox.values import from_tagged, is_equal, to_tagged

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary()
KEYS = TEXT | st.integers()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


def _has_one_key_twice(value: Any) -> bool:
    if isinstance(value, dict):
        return len({str(key) for key in value}) < len(value) or any(map(_has_one_key_twice, value.values()))
    return isinstance(value, list) and any(map(_has_one_key_twice, value))


@given(VALUES.filter(lambda value: not _has_one_key_twice(value)))
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    found = from_tagged(json.loads(json.dumps(to_tagged(value))))
    assert found == value
    assert type(found) is type(value)


def test_what_is_no_number_and_what_is_no_text_come_back() -> None:
    assert math.isnan(from_tagged(to_tagged(math.nan)))
    assert from_tagged(to_tagged(-math.inf)) == -math.inf
    assert from_tagged(to_tagged("\ud800")) == b"\xed\xa0\x80"
    assert from_tagged(to_tagged((1, [(2,)]))) == (1, [(2,)])


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, [lambda: 0], {1: 0, "1": 0}, {b"a": 0, "a": 0}])
def test_what_other_languages_do_not_have_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no counterpart"):
        to_tagged(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="more than 100 deep"):
        to_tagged(loop)


@pytest.mark.parametrize(
    "tagged",
    [
        *(None, [], ["int"], ["int", "x"], ["set", []], ["str", 1], ["bool", 0], ["bytes", "%"], ["list", [1]]),
        *(["int", True], ["int", 1.5], ["int", "9" * 5000], ["float", 10**400], ["map", 1], [[], 1]),
    ],
)
def test_what_is_not_tagged_is_refused(tagged: Any) -> None:
    with pytest.raises(ValueError):
        from_tagged(tagged)


def test_half_a_character_comes_as_bytes() -> None:
    assert from_tagged(["str", "\ud800"]) == b"\xed\xa0\x80"


def test_a_key_that_is_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        from_tagged(["map", [[["list", []], ["int", "1"]]]])


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, 1),
        (3.0, 3),  # 6 / 2 in PHP
        (0.1 + 0.2, 0.3),
        (math.nan, math.nan),
        (math.inf, math.inf),
        ("é", "é".encode()),
        ((1, [2.0]), [1, [2]]),
        ({"1": "x"}, {1: "x"}),  # PHP's keys
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({0: "x", 1: "y"}, ["x", "y"]),
        ({"a": 1}, {b"a": 1}),
        ({}, []),
        ([], {}),
        (None, None),
    ],
)
def test_these_are_equal(expected: Any, found: Any) -> None:
    assert is_equal(expected, found)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, 1.0),
        (1, True),
        (True, 1),
        (False, None),
        (0, False),
        (0, None),
        (1, "1"),
        (1.0, "1"),
        (1.0, 1.001),
        (1.0, 10**400),
        ({"1": 1, 1: 1}, {"1": 1, "z": 5}),
        (math.inf, 1e308),
        (math.nan, 0.0),
        ("1", 1),
        ("", None),
        ([1, 2], [2, 1]),
        ([1, 2], [1]),
        ([1], {1: 1}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ({"a": 1}, "a"),
        ([], None),
        ([], ""),
    ],
)
def test_these_are_not(expected: Any, found: Any) -> None:
    assert not is_equal(expected, found)
