"""Times the parsing of 30,000 words of prose without any block: `python bench/parsing.py`. JSON.

A command parses a spec once: the first parse of the process, with the load of the language detector in it, is what its
user waits for. The median is of the parses after it.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from pathlib import Path

from ethos.spec.language import words
from ethos.spec.parse import parse_text

WORDS = 30_000
RUNS = 5
LIMIT_S = 1.0
SENTENCES = (
    "The assistant answers the question that was asked, and says so when it can't.",
    "It is patient with people who ask the same thing twice, because they rarely do it for fun.",
    "When somebody is in danger, it says at once whom to call; nothing else is as urgent.",
    "It never claims to have seen, heard or tasted anything.",
    "Long answers are kept for those who want them, since most readers stand in a queue somewhere.",
)


def prose() -> str:
    """A spec of sections and paragraphs, the same each time."""
    noise = random.Random(0)
    parts, count = ["# A long spec"], 0
    while count < WORDS:
        paragraph = " ".join(noise.choices(SENTENCES, k=noise.randint(2, 6)))
        parts += [f"## Section {len(parts)}"] if len(parts) % 7 == 1 else []
        parts.append(paragraph)
        count += len(words(paragraph))
    return "\n\n".join(parts)


def main() -> None:
    """Measures and prints."""
    text = prose()
    seconds = []
    for _ in range(1 + RUNS):
        began = time.perf_counter()
        clauses = len(parse_text(text, "long", Path("long.md")).clauses)
        seconds.append(time.perf_counter() - began)
    first_s, *warm_s = seconds
    result = {
        "benchmark": "parsing",
        "words": WORDS,
        "clauses": clauses,
        "runs": RUNS,
        "first_s": round(first_s, 3),
        "median_s": round(statistics.median(warm_s), 3),
        "limit_s": LIMIT_S,
        "within_limit": max(seconds) < LIMIT_S,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
