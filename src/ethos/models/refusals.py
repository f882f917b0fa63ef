"""Requests that an endpoint won't answer: left out one by one, until most of those with the same settings are refused.

A prompt among hundreds may meet a content filter or be too long; a wrong model, or a parameter that it doesn't take, is
refused each time. Refusals are not stored: the response cache is shared and for good, and another day, or another
setting of the server, may let the same request pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ethos.errors import EthosError
from ethos.models.types import RequestRefused

FEWEST_REQUESTS = 8


class Refusals:
    """What one model was asked and refused, by settings. Requests count as asked from when they are wanted."""

    def __init__(self, note: Callable[[str], None] = lambda sentence: None) -> None:
        """`note` is told of the first refusal under each settings, in the endpoint's sentence."""
        self._note = note
        self._asked, self._refused = Counter[str](), Counter[str]()

    def ask(self, settings: str) -> None:
        """Counts a request, whether it is answered from the cache, now or never."""
        self._asked[settings] += 1

    def refuse(self, settings: str, refusal: RequestRefused) -> None:
        """Counts a refusal. Raises EthosError, in its words, if it makes more than half of at least 8 requests."""
        self._refused[settings] += 1
        if self._refused[settings] == 1:
            self._note(str(refusal))
        asked = self._asked[settings]
        if asked >= FEWEST_REQUESTS and 2 * self._refused[settings] > asked:
            raise EthosError(str(refusal)) from refusal
