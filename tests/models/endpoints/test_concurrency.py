"""How many requests an endpoint gets at once, on servers that are simulated by the second."""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import dataclass, field

import pytest

from ethos.models.endpoints.concurrency import PLACE, Controller, Slots


@dataclass
class World:
    """A server that serves all its requests at once, and no more than `capacity` at full speed.

    It never runs short of requests. Answers take `spread` times more or less, now and then twenty times as long.
    """

    capacity: int
    spread: float = 0.0
    refuses_beyond: int | None = None  # with a 429
    now: float = 0.0
    served: float = 0.0  # seconds that each request under way was served, at full speed
    given: float = 0.0  # seconds of service to all
    answered: int = 0
    refused: int = 0
    limits: list[int] = field(default_factory=list)
    noise: random.Random = field(default_factory=lambda: random.Random(0))

    def __post_init__(self) -> None:
        self.controller = Controller(1024, clock=lambda: self.now)
        self.under_way: list[tuple[float, float]] = []  # what it is served until, and its begin

    def run(self, until_s: float) -> float:
        """Goes on until then; the share of what the server could have done since."""
        began_s, given = self.now, self.given
        while self.now < until_s:
            while len(self.under_way) < self.controller.limit and self._begin():
                pass
            at_once = len(self.under_way)
            until, begin = heapq.heappop(self.under_way)
            took_s = (until - self.served) / min(1.0, self.capacity / at_once)
            self.now += took_s
            self.given += min(at_once, self.capacity) * took_s
            self.served = until
            self.answered += 1
            self.controller.answered("kind", begin, busy=len(self.under_way) + 1 >= self.controller.limit)
            self.limits.append(self.controller.limit)
        return (self.given - given) / (self.capacity * (self.now - began_s))

    def _begin(self) -> bool:
        if self.refuses_beyond is not None and len(self.under_way) >= self.refuses_beyond:
            self.refused += 1
            self.controller.failed(self.now, "429")
            return False
        length = self.noise.lognormvariate(-(self.spread**2) / 2, self.spread) if self.spread else 1.0
        length *= 20 if self.spread and self.noise.random() < 0.01 else 1
        heapq.heappush(self.under_way, (self.served + length, self.now))
        return True


@pytest.mark.parametrize("capacity", [1, 4, 30, 200])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_server_that_never_says_it_is_busy_is_kept_busy_and_not_flooded(capacity: int, spread: float) -> None:
    world = World(capacity, spread)
    world.run(until_s=60)
    assert world.run(until_s=400) > 0.95
    late = sorted(world.limits[len(world.limits) // 2 :])
    assert late[len(late) // 2] <= max(16, 4 * capacity)


def test_the_limit_doubles_while_twice_as_much_is_done() -> None:
    world = World(capacity=1000)
    world.run(until_s=12)
    assert world.limits[-1] >= 512


def test_a_server_that_refuses_is_given_less_at_once_and_later_a_little_more() -> None:
    world = World(capacity=10_000, refuses_beyond=50)
    world.run(until_s=30)
    refused = world.refused
    assert 25 <= world.controller.limit <= 63
    world.run(until_s=200)
    assert 32 <= sorted(world.limits[-2000:])[1000] <= 63
    assert (world.refused - refused) / world.answered < 0.02


def test_failures_of_requests_that_were_under_way_at_a_cut_do_not_cut_again() -> None:
    clock = iter(float(second) for second in range(1000))
    controller = Controller(64, clock=lambda: next(clock))
    before = controller.limit
    for _ in range(20):
        controller.failed(0.5, "503")
    assert controller.limit == int(before * 0.8)
    controller.failed(900.0, "503")
    assert controller.limit == int(int(before * 0.8) * 0.8)


def test_there_is_always_one_and_never_more_than_the_most() -> None:
    clock = iter(range(100_000))
    controller = Controller(3, clock=lambda: float(next(clock)))
    assert controller.limit == 3
    for second in range(50):
        controller.failed(second * 3.0 + 2, "timeout")
    assert controller.limit == 1


def test_answers_that_come_while_there_is_room_say_nothing() -> None:
    seconds = iter(range(1, 100_000))
    controller = Controller(64, clock=lambda: float(next(seconds)))
    for _ in range(500):
        controller.answered("kind", 0.0, busy=False)
    assert controller.limit == 8


def test_time_without_any_request_is_no_time_that_the_endpoint_took() -> None:
    now = 0.0
    controller = Controller(64, clock=lambda: now)

    def answer(count: int) -> None:
        nonlocal now
        for _ in range(count):
            now += 1 / controller.limit  # twice the requests do twice the work
            controller.answered("kind", now - 1, busy=True)

    answer(20)
    now += 600.0  # a pause, or a long stage elsewhere
    controller.rested()
    answer(16 + 32)
    assert controller.limit >= 32


def test_a_slot_that_is_taken_while_none_is_begins_a_round_anew() -> None:
    rests: list[int] = []

    class Counting(Controller):
        def rested(self) -> None:
            rests.append(1)

    async def run() -> None:
        slots = Slots(4)
        slots.controller = Counting(4)
        async with slots.one(), slots.one():
            pass
        async with slots.one():
            pass

    asyncio.run(run())
    assert len(rests) == 2


def test_kinds_that_take_longer_count_for_more_work() -> None:
    """Where short requests follow on long ones, more is answered in a second, and no more is done."""
    now = 0.0
    controller = Controller(64, clock=lambda: now)

    def answer(kind: str, takes_s: float, every_s: float, count: int, *, busy: bool) -> None:
        nonlocal now
        for _ in range(count):
            now += every_s
            controller.answered(kind, now - takes_s, busy=busy)

    for kind, takes_s in (("long", 10.0), ("short", 0.1)):
        answer(kind, takes_s, takes_s, 16, busy=False)  # what each takes by itself
    answer("long", 10.0, 10.0 / 8, 16, busy=True)
    assert controller.limit == 16
    answer("short", 0.2, 0.1 / 8, 16, busy=True)
    assert controller.limit == 8


def test_who_waits_goes_in_the_order_of_the_work_it_belongs_to() -> None:
    async def run() -> list[int]:
        slots, went = Slots(1), list[int]()

        async def one(place: int) -> None:
            PLACE.set(place)
            async with slots.one():
                went.append(place)
                await asyncio.sleep(0)

        async with slots.one():
            tasks = [asyncio.create_task(one(place)) for place in (5, 3, 9, 3, 1)]
            await asyncio.sleep(0.01)
            tasks[2].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        return went

    assert asyncio.run(run()) == [1, 3, 3, 5]


def test_a_slot_comes_back_however_its_holder_ends() -> None:
    async def run() -> bool:
        slots = Slots(1)

        async def fails() -> None:
            async with slots.one():
                raise ValueError("no")

        async def waits() -> None:
            async with slots.one():
                await asyncio.sleep(60)

        for end in (fails, waits):
            task = asyncio.create_task(end())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        held = asyncio.create_task(waits())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        held.cancel()
        waiting.cancel()  # it may just have been let in
        await asyncio.gather(held, waiting, return_exceptions=True)
        return slots.is_full

    assert asyncio.run(run()) is False
