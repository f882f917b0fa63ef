import math

import pytest

from ethos.store.canonical import canonical_json, digest, utc_now


def test_equal_values_give_equal_text() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é文"}) == '{"a":"é文","b":[1,2.5]}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_what_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical_json(math.nan)


def test_times_sort_as_text() -> None:
    first, second = utc_now(), utc_now()
    assert first <= second
    assert first.endswith("+00:00")
