"""Requests that an endpoint won't answer: left out one by one, until most of those with the same settings are refused.

A prompt among hundreds may meet a content filter or be too long; a wrong model, or a parameter that it doesn't take, is
refused each time. Refused requests are not stored: the response cache is shared and for good, and another day, or
another setting of the server, may let the same request pass. A reply that was begun and then withheld is stored, as it
was paid for, and never ends a run: it says nothing of the settings.
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
        self._asked, self._refused, self._withheld = Counter[str](), Counter[str](), set[str]()

    def ask(self, settings: str) -> None:
        """Counts a request, whether it is answered from the cache, now or never."""
        self._asked[settings] += 1

    def withhold(self, settings: str, sentence: str) -> None:
        """Tells of a reply that was withheld, if it is the first under these settings."""
        if settings not in self._withheld:
            self._withheld.add(settings)
            self._note(sentence)

    def refuse(self, settings: str, refusal: RequestRefused) -> None:
        """Counts a refusal. Raises EthosError, in its words, if it makes more than half of at least 8 requests."""
        self._refused[settings] += 1
        if self._refused[settings] == 1:
            self._note(str(refusal))
        asked = self._asked[settings]
        if asked >= FEWEST_REQUESTS and 2 * self._refused[settings] > asked:
            raise EthosError(str(refusal)) from refusal
