"""Times the parsing of 30,000 words of prose without any block, warmed up: `python bench/parsing.py`. JSON."""

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
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        clauses = len(parse_text(text, "long", Path("long.md")).clauses)
        seconds.append(time.perf_counter() - began)
    median_s = statistics.median(seconds[1:])
    result = {
        "benchmark": "parsing",
        "words": WORDS,
        "clauses": clauses,
        "runs": RUNS,
        "median_s": round(median_s, 3),
        "limit_s": LIMIT_S,
        "within_limit": median_s < LIMIT_S,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
