"""An OpenAI-compatible server whose answers cost nothing: `python bench/mock_endpoint.py PORT [options]`.

Latency is log-normal, and one in a hundred answers takes twenty times as long. `--capacity` makes it saturate without a
word: beyond so many requests at once all take longer. `--refuses-beyond` makes it answer 429 beyond so many. GET /seen
tells how many requests came, and how many of them more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
from collections import Counter
from typing import Any

from aiohttp import web

STRAGGLERS, TIMES = 0.01, 20.0


class Mock:
    """The server's state."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.noise = random.Random(0)
        self.seen: Counter[str] = Counter()
        self.at_once = self.most_at_once = self.refused = 0

    async def complete(self, request: web.Request) -> web.Response:
        """One chat completion."""
        body = await request.read()
        asked = json.loads(body)
        key = hashlib.sha256(json.dumps([asked["messages"], asked.get("seed")]).encode()).hexdigest()[:16]
        if self.options.refuses_beyond and self.at_once >= self.options.refuses_beyond:
            self.refused += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429)
        self.seen[key] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency_s())
        finally:
            self.at_once -= 1
        words = self.noise.choices(WORDS, k=self.options.words)
        return web.json_response(answer(f"{key} {' '.join(words)}", len(body) // 4, self.options.words))

    def latency_s(self) -> float:
        """Of one answer."""
        options = self.options
        seconds: float = options.latency_s * self.noise.lognormvariate(0, options.spread)
        if self.noise.random() < STRAGGLERS:
            seconds *= TIMES
        if options.capacity:
            seconds *= max(1.0, self.at_once / options.capacity)
        return seconds

    async def told(self, request: web.Request) -> web.Response:
        """What came so far."""
        again = sum(count - 1 for count in self.seen.values())
        found = {"requests": self.seen.total(), "distinct": len(self.seen), "again": again, "refused": self.refused}
        return web.json_response({**found, "most_at_once": self.most_at_once})


WORDS = ["lantern", "harbour", "someone", "knows", "each", "boat", "and", "says", "so"]


def answer(text: str, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """A completion as OpenAI's API writes it."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return {
        "id": "mock",
        "object": "chat.completion",
        "created": 0,
        "model": "mock",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {**usage, "total_tokens": prompt_tokens + completion_tokens},
    }


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--latency-s", type=float, default=0.2)
    parser.add_argument("--spread", type=float, default=0.5, help="sigma of the log-normal distribution")
    parser.add_argument("--capacity", type=int, default=0)
    parser.add_argument("--refuses-beyond", type=int, default=0)
    parser.add_argument("--words", type=int, default=60)
    mock = Mock(parser.parse_args())
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", mock.complete)
    app.router.add_get("/seen", mock.told)
    web.run_app(app, host="127.0.0.1", port=mock.options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
