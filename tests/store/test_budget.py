from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ethos.errors import EthosError
from ethos.store.budget import Budget, BudgetSpent, Reservation
from ethos.store.config.run import BudgetConfig

Story = Callable[[], Awaitable[None]]


def told(story: Story) -> None:
    """Runs it on an event loop; one that waits for ever fails."""

    async def within() -> None:
        await asyncio.wait_for(story(), timeout=30)

    asyncio.run(within())


def reserve(budget: Budget, tokens: int, usd: float = 0.0) -> asyncio.Task[Reservation]:
    """A call that wants room."""
    return asyncio.create_task(budget.reserve(tokens, usd))


async def settled() -> None:
    """Lets all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_call_that_goes_past_the_limit_is_refused_at_once() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000))
        budget.settle(await budget.reserve(600), 600)
        await budget.reserve(400)
        with pytest.raises(BudgetSpent, match=r"budget\.tokens is 1000, 600 are spent, .* may take 401;"):
            await budget.reserve(401)

    told(story)
    assert issubclass(BudgetSpent, EthosError)


def test_what_is_reserved_and_not_used_serves_those_that_wait() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000, usd=1.0))
        first = await budget.reserve(1000, 0.5)
        second, third = reserve(budget, 400, 0.5), reserve(budget, 300, 0.25)
        await settled()
        assert not second.done()
        budget.settle(first, 300, 0.25)
        await second
        await third
        with pytest.raises(BudgetSpent):
            await budget.reserve(701)

    told(story)


def test_of_many_calls_as_many_are_admitted_as_the_limit_holds_and_all_in_the_end() -> None:
    at_once: list[int] = []

    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000))
        open_calls = 0

        async def call() -> None:
            nonlocal open_calls
            held = await budget.reserve(100)
            open_calls += 1
            at_once.append(open_calls)
            await asyncio.sleep(0.001)
            open_calls -= 1
            budget.settle(held, 1)

        await asyncio.gather(*(call() for _ in range(256)))

    told(story)
    assert len(at_once) == 256
    assert max(at_once) == 10


def test_calls_that_wait_are_refused_once_the_room_is_used() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000))
        first = await budget.reserve(1000)
        large, small = reserve(budget, 101), reserve(budget, 100)
        await settled()
        budget.settle(first, 900)
        with pytest.raises(BudgetSpent, match=r"900 are spent, .* may take 101;"):
            await large
        await small

    told(story)


def test_a_large_call_is_not_overtaken_for_ever_by_small_ones() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000))
        first = await budget.reserve(600)
        large, small = reserve(budget, 800), reserve(budget, 100)
        await settled()
        assert not small.done()
        budget.settle(first, 0)
        await large
        await small

    told(story)


def test_whoever_stops_waiting_holds_nothing_and_holds_nobody_up() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=1000))
        first = await budget.reserve(600)
        leaving, behind, staying = reserve(budget, 800), reserve(budget, 300), reserve(budget, 400)
        await settled()
        behind.cancel()
        leaving.cancel()
        await staying
        budget.settle(first, 0)
        await budget.reserve(600)

    told(story)


def test_a_failed_call_takes_nothing() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig(tokens=100))
        budget.settle(await budget.reserve(100), 0)
        await budget.reserve(100)

    told(story)


def test_a_reservation_is_settled_once() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig())
        first, _alike = await budget.reserve(5), await budget.reserve(5)
        budget.settle(first, 5)
        with pytest.raises(KeyError):
            budget.settle(first, 5)

    told(story)


def test_money_is_a_limit_too() -> None:
    async def story() -> None:
        with pytest.raises(BudgetSpent, match=r"budget\.usd"):
            await Budget(BudgetConfig(usd=0.5)).reserve(10, 0.51)

    told(story)


def test_time_is_a_limit_too_also_for_those_that_wait() -> None:
    now_s = 0.0

    async def story() -> None:
        nonlocal now_s
        budget = Budget(BudgetConfig(tokens=100, minutes=2), minutes=1.5, clock=lambda: now_s)
        now_s = 29.0
        first = await budget.reserve(100)
        waiting = reserve(budget, 100)
        await settled()
        now_s = 31.0
        budget.settle(first, 0)
        for late in (waiting, reserve(budget, 1)):
            with pytest.raises(BudgetSpent, match=r"budget\.minutes"):
                await late

    told(story)


def test_earlier_sittings_count() -> None:
    async def story() -> None:
        with pytest.raises(BudgetSpent):
            await Budget(BudgetConfig(tokens=1000), tokens=950).reserve(51)

    told(story)


def test_no_limit_is_no_limit() -> None:
    async def story() -> None:
        budget = Budget(BudgetConfig())
        for _ in range(3):
            await budget.reserve(10**12, 1e9)

    told(story)
