"""What a reward is, and how one of a user's own is found: a function that scores a group of replies to one prompt."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.models.types import Sample
from ethos.process import find_modules_in
from ethos.store.canonical import digest
from ethos.store.rows import TaskRow

Scores = Sequence[float | None]
RewardFunction = Callable[[TaskRow, Sequence[Sample]], Scores | Awaitable[Scores]]
"""From a task and the replies to its prompt to a number for each; None where a reply can't be scored."""

_NUMBER = re.compile(r"(?<![\d.])(?:(?<!\w)-)?\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def right_answer(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """1 if the reply's answer is the task's, else 0: its last number if that is one, or the words if they stand in it.

    Thousands may be set apart by commas. None for a task without an answer.
    """
    if task.answer is None:
        return [None] * len(replies)
    return [float(_answers(reply.text, task.answer)) for reply in replies]


def _answers(text: str, answer: str) -> bool:
    number = _THOUSANDS.sub("", answer.strip())
    if _NUMBER.fullmatch(number):
        numbers = _NUMBER.findall(_THOUSANDS.sub("", text))
        return bool(numbers) and float(numbers[-1]) == float(number)
    return re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text, re.IGNORECASE) is not None


BUILT_IN: dict[str, RewardFunction] = {"right_answer": right_answer}


def find_reward(name: str, where: str, base: Path) -> RewardFunction:
    """The function that `package.module:function` names, or a built-in one; modules in the folder `base` are found too.

    Raises EthosError that names the field and the mend.
    """
    if where in BUILT_IN:
        return BUILT_IN[where]
    field = f"training.rewards.functions.{name}"
    module, colon, attribute = where.partition(":")
    if not colon or not module or not attribute:
        known = ", ".join(BUILT_IN)
        raise EthosError(f"{field}: '{where}' names no function; write package.module:function, or one of {known}")
    find_modules_in(base)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # whatever the module does when it is imported
        raise EthosError(
            f"{field}: {module} can't be imported ({type(error).__name__}: {error}); install it, or mend it"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise EthosError(f"{field}: {module} has no function named {attribute}; mend the name")
    function: RewardFunction = found
    return function


def source_digest(function: RewardFunction) -> str:
    """Of the whole module that a reward is written in, since it may lean on what stands beside it.

    Of its type's name alone where there is no source to read.
    """
    try:
        return digest(inspect.getsource(sys.modules[function.__module__]))
    except (AttributeError, KeyError, OSError, TypeError):
        return digest(str(type(function)))


async def score(name: str, function: RewardFunction, task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """What the function says of each reply, None where that is no number. One that isn't async runs in a thread.

    Raises EthosError if it fails, or doesn't give a number or None for each reply.
    """
    try:
        if inspect.iscoroutinefunction(function):
            given = await function(task, replies)
        else:
            given = await asyncio.to_thread(function, task, replies)
            if inspect.isawaitable(given):
                given = await given
        scores = [None if value is None or not math.isfinite(value) else float(value) for value in given]
    except Exception as error:
        raise EthosError(
            f"the reward {name} failed on row {task.id} ({type(error).__name__}: {error}); mend it and run again"
        ) from error
    if len(scores) != len(replies):
        raise EthosError(
            f"the reward {name} gave {len(scores)} numbers for {len(replies)} replies to row {task.id}; "
            "let it give one for each, and None where a reply can't be scored"
        )
    return scores
