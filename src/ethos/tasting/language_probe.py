"""Whether a student can write a language, so that a run can warn before it trains one in a language that it can't."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from ethos.models.types import BatchSampler, SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import detect_language, language_name

PROBE_PARAMS = SamplingParams(max_tokens=64, temperature=0.0)


async def share_written_in(model: BatchSampler, language: str, advance: Callable[[], None] = lambda: None) -> float:
    """The share of replies to `probes_in` a language (ISO 639-1) that are in it.

    It tells languages apart and says nothing about how well one is written; an empty reply is in none.
    """
    asked = [Conversation.user(prompt) for prompt in probes_in(language)]
    samples = await model.sample_batch(asked, PROBE_PARAMS, advance=advance)
    return sum(detect_language(sample.text) == language for [sample] in samples) / len(samples)


def probes_in(language: str) -> list[str]:
    """Three plain prompts, in that language where `probes/` has a file, else in English and asking to answer in it."""
    folder = files(__package__).joinpath("probes")
    file = folder.joinpath(f"{language}.txt")
    text = (file if file.is_file() else folder.joinpath("other.txt")).read_text(encoding="utf-8")
    return text.replace("{language}", language_name(language)).splitlines()
