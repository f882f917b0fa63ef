import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation
from ethos.store.cache import Response, ResponseCache, cache_directory, response_key
from ethos.store.database import CACHE_SCHEMA, Database

PUT = """
import sys
from pathlib import Path
from ethos.store.cache import Response, ResponseCache
cache = ResponseCache(Path(sys.argv[1]))
group = 0
while True:
    cache.put_many([Response(f"{group}-{i}", "x" * 4000 + "end") for i in range(10)])
    group += 1
    print(group)
"""
PUT_SHARED = """
import sys
from pathlib import Path
from ethos.store.cache import Response, ResponseCache
cache = ResponseCache(Path(sys.argv[1]))
for i in range(60):
    cache.put_many([Response(f"shared-{i}", sys.argv[2]), Response(f"{sys.argv[2]}-{i}", "mine")])
    assert cache.get(f"shared-{i}") in ("left", "right")
"""


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    opened = ResponseCache(tmp_path)
    yield opened
    opened.close()


class Model:
    """Counts its calls, and answers when it is let go."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self._failure = failure

    async def answer(self) -> str:
        self.calls += 1
        await self.go.wait()
        if self._failure is not None:
            raise self._failure
        return f"answer {self.calls}"


def test_the_directory_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ETHOS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "ethos"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "ethos"
    monkeypatch.setenv("ETHOS_CACHE", "~/own")
    assert cache_directory() == tmp_path / "own"


def test_the_key_depends_on_all_that_shapes_the_answer() -> None:
    hello = Conversation.user("hello")
    params = {"temperature": 0.8, "max_tokens": 16}
    keys = [
        response_key("w1", "sample", hello, params),
        response_key("w2", "sample", hello, params),
        response_key("w1", "score", hello, params),
        response_key("w1", "sample", Conversation.user("hello!"), params),
        response_key("w1", "sample", hello, {**params, "temperature": 0.9}),
        response_key("w1", "sample", hello, params, draw=1),
        response_key("w1", "sample", hello, params, attempt=1),
    ]
    assert len(set(keys)) == len(keys)
    assert response_key("w1", "sample", hello, {"max_tokens": 16, "temperature": 0.8}) == keys[0]


def test_an_answer_is_kept_as_it_came_and_the_first_stays(cache: ResponseCache) -> None:
    cache.put_many([Response("a", '{"raw" : 1}\n', {"model": "m"}), Response("b", "文\x00")])
    cache.put_many([Response("a", "another")])
    assert cache.get("a") == '{"raw" : 1}\n'
    assert cache.get_many(["a", "b", "c"]) == {"a": '{"raw" : 1}\n', "b": "文\x00"}
    assert cache.get("c") is None
    assert cache.get_many([]) == {}


def test_thousands_of_keys_are_looked_up_at_once(cache: ResponseCache) -> None:
    cache.put_many(Response(str(i), "x") for i in range(5000))
    assert len(cache.get_many(str(i) for i in range(10_000))) == 5000


def test_identical_calls_in_flight_are_made_once(cache: ResponseCache) -> None:
    async def main() -> None:
        model = Model()
        waiting = [asyncio.create_task(cache.once("k", model.answer)) for _ in range(5)]
        await asyncio.sleep(0)
        model.go.set()
        answers = await asyncio.gather(*waiting)
        assert [raw for raw, _ in answers] == ["answer 1"] * 5
        assert [hit for _, hit in answers] == [False, True, True, True, True]
        assert await cache.once("k", model.answer) == ("answer 1", True)
        assert model.calls == 1

    asyncio.run(main())
    assert cache.get("k") == "answer 1"


def test_an_answer_is_stored_before_anyone_gets_it(cache: ResponseCache, tmp_path: Path) -> None:
    async def make() -> str:
        return "raw"

    async def main() -> None:
        async def see(key: str) -> None:
            await cache.once(key, make)
            assert other.get(key) == "raw"

        await asyncio.gather(*(see(str(i)) for i in range(30)))

    other = ResponseCache(tmp_path)
    asyncio.run(main())
    other.close()


def test_a_failing_call_fails_for_all_and_is_not_stored(cache: ResponseCache) -> None:
    async def main() -> None:
        model = Model(EthosError("no answer"))
        model.go.set()
        answers = await asyncio.gather(*(cache.once("k", model.answer) for _ in range(3)), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["no answer"] * 3
        assert model.calls == 1
        assert cache.get("k") is None
        healthy = Model()
        healthy.go.set()
        assert await cache.once("k", healthy.answer) == ("answer 1", False)

    asyncio.run(main())


def test_a_waiter_that_leaves_takes_no_answer_from_the_others(cache: ResponseCache) -> None:
    async def main() -> None:
        model = Model()
        first, second = (asyncio.create_task(cache.once("k", model.answer)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        model.go.set()
        assert await second == ("answer 1", True)
        assert first.cancelled()

    asyncio.run(main())


def test_of_two_processes_that_make_the_same_call_both_get_the_answer_that_is_stored(
    cache: ResponseCache, tmp_path: Path
) -> None:
    """A row then holds what `ethos trace` finds under its key."""
    other = ResponseCache(tmp_path)

    async def make() -> str:
        other.put_many([Response("k", "theirs")])
        return "ours"

    assert asyncio.run(cache.once("k", make)) == ("theirs", False)
    assert cache.get("k") == "theirs"
    other.close()


def test_settling_keeps_what_is_in_flight_and_cancels_who_waits_for_it_or_asks_for_more(cache: ResponseCache) -> None:
    async def main() -> None:
        model, failing, asked = Model(), Model(EthosError("no answer")), list[str]()

        async def asking() -> None:
            await cache.once("k", model.answer)
            asked.append("something new")

        waiting = [asyncio.create_task(asking()), asyncio.create_task(cache.once("failing", failing.answer))]
        await asyncio.sleep(0)
        settling = asyncio.create_task(cache.settle())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting[0], timeout=30)
        assert not settling.done()
        model.go.set()
        failing.go.set()
        await settling
        assert waiting[1].cancelled()
        with pytest.raises(asyncio.CancelledError):
            await cache.once("another", model.answer)
        assert (model.calls, asked) == (1, [])

    asyncio.run(main())
    assert cache.get_many(["k", "failing", "another"]) == {"k": "answer 1"}


def test_an_answer_that_could_not_be_written_reaches_nobody(cache: ResponseCache, tmp_path: Path) -> None:
    async def make() -> str:
        return "raw"

    async def main() -> list[BaseException | tuple[str, bool]]:
        return await asyncio.gather(*(cache.once(str(i), make) for i in range(8)), return_exceptions=True)

    full = "CREATE TRIGGER full BEFORE INSERT ON responses WHEN NEW.key = '5' BEGIN SELECT RAISE(ABORT, 'full'); END"
    with Database.open(tmp_path / "responses.db", CACHE_SCHEMA) as database:
        with database.transaction(durable=False) as connection:
            connection.execute(full)
        answers = asyncio.run(main())
        assert isinstance(answers[5], sqlite3.IntegrityError)
        assert all(cache.get(str(i)) for i, answer in enumerate(answers) if not isinstance(answer, BaseException))
        with database.transaction(durable=False) as connection:
            connection.execute("DROP TRIGGER full")
    asyncio.run(main())
    assert len(cache.get_many(str(i) for i in range(8))) == 8


def test_an_answer_that_has_no_utf8_form_fails_alone(cache: ResponseCache) -> None:
    async def broken() -> str:
        return "\ud800"

    async def sound() -> str:
        return "raw"

    async def main() -> list[BaseException | tuple[str, bool]]:
        return await asyncio.gather(cache.once("a", broken), cache.once("b", sound), return_exceptions=True)

    first, second = asyncio.run(main())
    assert isinstance(first, ValueError)
    assert second == ("raw", False)


def test_a_kill_while_storing_keeps_whole_groups_of_whole_answers(
    tmp_path: Path, kill_after: Callable[[str, Path, int], list[str]]
) -> None:
    groups = int(kill_after(PUT, tmp_path, 4)[-1])
    cache = ResponseCache(tmp_path)
    stored = cache.get_many(f"{group}-{i}" for group in range(groups + 5) for i in range(10))
    assert len(stored) >= groups * 10
    assert len(stored) % 10 == 0
    assert all(raw == "x" * 4000 + "end" for raw in stored.values())
    cache.close()


def test_two_processes_start_and_fill_one_cache_at_once(tmp_path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", PUT_SHARED, str(tmp_path / "new"), name]) for name in ("left", "right")
    ]
    assert [child.wait() for child in children] == [0, 0]
    cache = ResponseCache(tmp_path / "new")
    keys = [f"{name}-{i}" for name in ("shared", "left", "right") for i in range(60)]
    assert len(cache.get_many(keys)) == 180
    cache.close()
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {
        "responses.db", "responses.db-wal", "responses.db-shm",
    }  # fmt: skip
