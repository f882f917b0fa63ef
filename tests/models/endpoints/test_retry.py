import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethos.models.endpoints.retry import CallFailed, RetryPolicy, retry_after_s

POLICY = RetryPolicy(attempts=4, first_wait_s=1.0, longest_wait_s=10.0)


@given(failed=st.integers(1, 50), jitter=st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_longest_and_spread_over_their_upper_half(failed: int, jitter: float) -> None:
    whole = min(2.0 ** (failed - 1), 10.0)
    assert whole / 2 <= POLICY.wait_s(failed, None, jitter) <= whole


def test_what_the_server_asks_for_goes_first() -> None:
    assert POLICY.wait_s(1, 7.5, 0.3) == 7.5
    assert POLICY.wait_s(4, 0.0, 0.3) == 0.0


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", None), ("nan", None), ("inf", None)])
def test_retry_after_is_read_as_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after_s({"retry-after": date}) == pytest.approx(3600, abs=60)


def test_no_retry_after_is_none() -> None:
    assert retry_after_s({}) is None


def attempts(policy: RetryPolicy, failure: CallFailed) -> int:
    """How often a call that always fails so is made."""
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        raise failure

    with pytest.raises(CallFailed):
        asyncio.run(policy.run(attempt))
    return made


@pytest.mark.parametrize("status", [None, 408, 409, 429, 500, 502, 599])
def test_what_may_pass_is_tried_to_the_end(status: int | None) -> None:
    assert attempts(RetryPolicy(attempts=3, first_wait_s=0), CallFailed("planted", status=status)) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_pass_is_tried_once(status: int) -> None:
    assert attempts(RetryPolicy(attempts=3, first_wait_s=0), CallFailed("planted", status=status)) == 1


def test_a_wait_longer_than_the_longest_is_not_waited() -> None:
    assert attempts(POLICY, CallFailed("quota", status=429, retry_after_s=11)) == 1


@pytest.mark.parametrize(
    ("failure", "for_load"),
    [
        (CallFailed("busy", status=429), True),
        (CallFailed("busy", status=503), True),
        (CallFailed("overloaded", status=529), True),
        (CallFailed("no answer within 120 s", timed_out=True), True),
        (CallFailed("a bug", status=500), False),
        (CallFailed("connection reset"), False),
        (CallFailed("no", status=400), False),
    ],
)
def test_what_a_server_says_when_it_has_too_much_to_do(failure: CallFailed, for_load: bool) -> None:
    assert failure.is_for_load is for_load
