import asyncio
from itertools import pairwise

from ethos.models.endpoints.limits import Limiter, Limits


def test_no_window_of_a_minute_holds_more_starts_than_the_rate() -> None:
    minute_s, starts = 0.1, list[float]()

    async def one(limiter: Limiter) -> None:
        await limiter.turn(1)
        starts.append(asyncio.get_running_loop().time())

    async def run() -> None:
        limiter = Limiter(Limits(requests_per_minute=3), minute_s)
        await asyncio.gather(*(one(limiter) for _ in range(8)))

    asyncio.run(run())
    clock_resolution_s = 0.01
    assert len(starts) == 8
    assert all(
        later - earlier >= minute_s - clock_resolution_s for earlier, later in zip(starts, starts[3:], strict=False)
    )


def test_no_window_of_a_minute_holds_more_tokens_than_the_rate() -> None:
    minute_s, starts = 0.1, list[float]()

    async def run() -> None:
        limiter = Limiter(Limits(tokens_per_minute=100), minute_s)
        for most in (60, 40, 50, 60, 500, 1):
            await limiter.turn(most)
            starts.append(asyncio.get_running_loop().time())

    asyncio.run(run())
    waits = [later - earlier > minute_s / 2 for earlier, later in pairwise(starts)]
    assert waits == [False, True, True, True, True]  # 500 is more than a minute holds: it goes by itself


def test_tokens_that_a_reply_did_not_take_let_the_next_one_in() -> None:
    async def run() -> list[bool]:
        limiter = Limiter(Limits(tokens_per_minute=100), minute_s=30.0)
        first = await limiter.turn(90)
        waiting = asyncio.create_task(limiter.turn(50))
        await asyncio.sleep(0)
        before = waiting.done()
        first.settle(0)  # this endpoint tells nothing
        await asyncio.sleep(0.01)
        untold = waiting.done()
        first.settle(20)
        await asyncio.wait_for(waiting, 10)
        return [before, untold, waiting.done()]

    assert asyncio.run(run()) == [False, False, True]


def test_both_rates_are_kept_to() -> None:
    async def run() -> list[bool]:
        limiter = Limiter(Limits(requests_per_minute=2, tokens_per_minute=100), minute_s=30.0)
        await limiter.turn(10)
        await limiter.turn(10)
        third = asyncio.create_task(limiter.turn(10))
        other = Limiter(Limits(requests_per_minute=9, tokens_per_minute=100), minute_s=30.0)
        await other.turn(95)
        fourth = asyncio.create_task(other.turn(10))
        await asyncio.sleep(0.01)
        found = [third.done(), fourth.done()]
        third.cancel()
        fourth.cancel()
        return found

    assert asyncio.run(run()) == [False, False]


def test_without_a_rate_nobody_waits() -> None:
    async def run() -> float:
        limiter = Limiter(Limits())
        started = asyncio.get_running_loop().time()
        for _ in range(1000):
            await limiter.turn(1)
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(run()) < 10
