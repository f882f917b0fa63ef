from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.models.types import Sample, Usage
from ethos.spec.conversation import Conversation
from ethos.store.rows import Lineage, TaskRow
from ethos.training.reward_functions import RewardFunction, find_reward, right_answer, score, source_digest

HERE = Path(__file__).parent


def task(answer: str | None = "12") -> TaskRow:
    return TaskRow(Conversation.user("How much is 7 + 5?"), Lineage("test", capability_source="test"), answer)


def replies(*texts: str) -> list[Sample]:
    return [Sample(text, "stop", Usage(1, 1), draw) for draw, text in enumerate(texts)]


def test_the_last_number_of_a_reply_is_its_answer() -> None:
    given = replies("It is 12.", "7 + 5 = 12", "12 or 13", "twelve", "12.0", "-12", "1,012")
    assert right_answer(task(), given) == [1, 1, 0, 0, 1, 0, 0]
    assert right_answer(task("1012"), given)[-1] == 1
    assert right_answer(task("1,000"), replies("1000", "1,000.", "about 1,0000")) == [1, 1, 0]
    assert right_answer(task("5"), replies("pages 3-5", "it is -5")) == [1, 0]


def test_an_answer_in_words_has_to_stand_there_as_a_word() -> None:
    assert right_answer(task("Paris"), replies("It's paris!", "Parisian", "Rome")) == [1, 0, 0]


def test_a_task_without_an_answer_is_not_scored() -> None:
    assert right_answer(task(None), replies("12", "13")) == [None, None]


def test_a_function_of_ones_own_is_found_by_its_name_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text(
        "class Group:\n    def ones(task, replies):\n        return [1.0] * len(replies)\n"
    )
    found = find_reward("ones", "my_rewards:Group.ones", tmp_path)
    assert asyncio.run(score("ones", found, task(), replies("a", "b"))) == [1.0, 1.0]
    assert find_reward("right", "right_answer", tmp_path) is right_answer


def test_the_source_of_a_reward_is_known_by_its_module(tmp_path: Path) -> None:
    digests = []
    for name, threshold in (("short_a", 3), ("short_b", 3), ("short_c", 4)):
        source = (
            f"MOST = {threshold}\ndef short(task, replies):\n    return [float(len(r.text) < MOST) for r in replies]\n"
        )
        (tmp_path / f"{name}.py").write_text(source)
        digests.append(source_digest(find_reward("short", f"{name}:short", tmp_path)))
    assert digests[0] == digests[1] != digests[2]
    assert source_digest(math.gcd) != source_digest(right_answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("length", "names no function; write package.module:function, or one of right_answer"),
        ("no_such_package:f", "no_such_package can't be imported"),
        ("broken_rewards:f", "broken_rewards can't be imported .ZeroDivisionError"),
        ("math:f", "math has no function named f"),
        ("math:pi", "math has no function named pi"),
    ],
)
def test_a_function_that_is_not_there_is_told_with_its_field(where: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    with pytest.raises(EthosError, match=rf"training\.rewards\.functions\.mine: .*{message}"):
        find_reward("mine", where, tmp_path)


async def _asynchronous(task: TaskRow, given: Sequence[Sample]) -> list[float | None]:
    await asyncio.sleep(0)
    return [None, 2]


@pytest.mark.parametrize("function", [_asynchronous, lambda t, r: [None, 2], lambda t, r: _asynchronous(t, r)])
def test_functions_may_be_asynchronous_and_leave_replies_unscored(function: RewardFunction) -> None:
    assert asyncio.run(score("mine", function, task(), replies("a", "b"))) == [None, 2.0]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_no_score(broken: float) -> None:
    assert asyncio.run(score("mine", lambda t, r: [broken, 1.0], task(), replies("a", "b"))) == [None, 1.0]


def _fails(task: TaskRow, given: Sequence[Sample]) -> list[float | None]:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_fails, "the reward mine failed on row .*KeyError"),
        (lambda t, r: [1.0], "gave 1 numbers for 2 replies"),
        (lambda t, r: ["good", "bad"], "TypeError"),
        (lambda t, r: None, "TypeError"),
    ],
)
def test_a_function_that_fails_is_told_with_its_row(function: RewardFunction, message: str) -> None:
    with pytest.raises(EthosError, match=message):
        asyncio.run(score("mine", function, task(), replies("a", "b")))
