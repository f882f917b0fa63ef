"""Whether a student can write a language, so that a run can warn before it trains one in a language that it can't."""

from __future__ import annotations

from importlib.resources import files

from ethos.models.types import SamplingParams
from ethos.spec.conversation import Conversation
from ethos.spec.language import detect_language, language_name
from ethos.tasting.types import BatchSampler

PROBE_PARAMS = SamplingParams(max_tokens=64, temperature=0.0)


async def can_write(model: BatchSampler, language: str) -> float:
    """The share of replies to three plain prompts that are in the language (ISO 639-1) they were asked for in.

    The prompts are in that language where `probes/` has a file, else in English with the request to answer in it. It
    tells languages apart and says nothing about how well one is written; an empty reply is in none.
    """
    samples = await model.sample_batch([Conversation.user(prompt) for prompt in _prompts(language)], PROBE_PARAMS)
    return sum(detect_language(sample.text) == language for [sample] in samples) / len(samples)


def _prompts(language: str) -> list[str]:
    folder = files(__package__).joinpath("probes")
    file = folder.joinpath(f"{language}.txt")
    text = (file if file.is_file() else folder.joinpath("other.txt")).read_text(encoding="utf-8")
    return text.replace("{language}", language_name(language)).splitlines()
