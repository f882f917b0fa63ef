import asyncio

from ethos.models.endpoints.limits import Limiter, Limits


def test_no_window_of_a_minute_holds_more_starts_than_the_rate() -> None:
    minute_s, starts = 0.1, list[float]()

    async def one(limiter: Limiter) -> None:
        await limiter.turn()
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


def test_without_a_rate_nobody_waits() -> None:
    async def run() -> float:
        limiter = Limiter(Limits())
        started = asyncio.get_running_loop().time()
        for _ in range(1000):
            await limiter.turn()
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(run()) < 10
