"""Many items at once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ethos.models.endpoints.concurrency import Slots
from ethos.synthesis.types import in_order


def test_results_come_in_the_order_of_the_items_whoever_is_faster() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0.01 * (item % 3))
        return item

    async def run() -> list[int]:
        return [result async for result in in_order(work, range(20))]

    assert asyncio.run(run()) == list(range(20))


def test_items_that_were_begun_first_are_finished_first() -> None:
    """Each takes three requests one after another, and there is one slot."""
    asked: list[tuple[int, int]] = []

    async def run() -> None:
        slots = Slots(1)

        async def work(item: int) -> None:
            for request in range(3):
                async with slots.one():
                    asked.append((item, request))
                    await asyncio.sleep(0)

        async for _ in in_order(work, range(50)):
            pass

    asyncio.run(run())
    first_finished = [item for item, request in asked if request == 2]
    assert first_finished == list(range(50))
    assert asked.index((0, 2)) < 55  # breadth first, it would come after 100 others


def test_items_are_taken_as_they_are_needed_however_many_there_are() -> None:
    taken, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(20_000):
            taken = item
            yield item

    async def work(item: int) -> int:
        return item

    async def run() -> int:
        nonlocal most
        count = 0
        async for result in in_order(work, items()):
            most = max(most, taken - result)
            count += 1
        return count

    assert asyncio.run(run()) == 20_000
    assert most <= 4096


def test_one_that_fails_ends_the_others() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        if item == 3:
            raise ValueError("no")
        try:
            await asyncio.sleep(60 * (item > 3))
        except asyncio.CancelledError:
            ended.append(item)
            raise

    async def run() -> None:
        async for _ in in_order(work, range(8)):
            pass

    with pytest.raises(ValueError, match="no"):
        asyncio.run(run())
    assert ended == [4, 5, 6, 7]
