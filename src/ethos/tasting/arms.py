"""How the arms that aren't trained put the spec before the student, and which way of prompting is the best.

The base and the trained arm answer a scenario's prompt as it is, under the student's own choice of system message.
The prompted arm gets the spec before the prompt in one of three ways, and the best on taste scenarios is compared
with the trained arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ethos.spec.conversation import Conversation, Message
from ethos.spec.frame import frame, whole
from ethos.spec.language import in_language
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec

Variant = Literal["whole", "frame", "frame+example"]
VARIANTS: tuple[Variant, ...] = ("whole", "frame", "frame+example")
_WITH_EXAMPLE = Path(__file__).parent / "prompts" / "frame_with_example.md"
WHOLE_TOKENS = 3000  # of a spec's text: more of it makes small models worse and every prompt dear


@dataclass(frozen=True, slots=True)
class Prompted:
    """What the student is shown, and how many tokens of it stand before the prompt."""

    conversation: Conversation
    tokens: int


def prompt_for(
    variant: Variant, scenario: Scenario, spec: Spec, count_tokens: Callable[[str], int], frame_tokens: int
) -> Prompted:
    """A scenario's prompt with the spec before it: the whole spec, its clause's frame, or frame and good example."""
    return prompts_for(variant, [scenario], spec, count_tokens, frame_tokens)[0]


def prompts_for(
    variant: Variant,
    scenarios: Sequence[Scenario],
    spec: Spec,
    count_tokens: Callable[[str], int],
    frame_tokens: int,
) -> list[Prompted]:
    """As `prompt_for`, for many scenarios; what stands before the prompt is made once a clause."""
    shown: dict[str, tuple[tuple[Message, ...], int]] = {}
    for clause_id in dict.fromkeys(scenario.clause_id for scenario in scenarios):
        before = _before(variant, spec.clause(clause_id), spec, count_tokens, frame_tokens)
        shown[clause_id] = before, sum(count_tokens(message.content) for message in before)
    return [
        Prompted(Conversation((*before, *scenario.prompt.messages)), tokens)
        for scenario in scenarios
        for before, tokens in [shown[scenario.clause_id]]
    ]


def comparable(scores: Mapping[Variant, Sequence[float | None]]) -> dict[Variant, list[float]]:
    """The scores of the scenarios that every variant was scored on, in order.

    A variant without any score, such as one that is too long for the student, is left out. Raises ValueError if the
    variants were read on different numbers of scenarios.
    """
    read = {variant: column for variant, column in scores.items() if any(score is not None for score in column)}
    complete = [row for row in zip(*read.values(), strict=True) if None not in row]
    return {variant: [row[place] or 0.0 for row in complete] for place, variant in enumerate(read)}


def best_variant(scores: Mapping[Variant, Sequence[float | None]]) -> Variant:
    """The variant with the highest mean adherence; of equals the first given.

    `scores` are those of the same taste scenarios in the same order, and only what is `comparable` among them counts;
    where nothing is, the first is taken.
    """
    totals = {variant: sum(column) for variant, column in comparable(scores).items()}
    return max(totals or dict.fromkeys(scores, 0.0), key=lambda variant: totals.get(variant, 0.0))


def _before(
    variant: Variant, clause: Clause, spec: Spec, count_tokens: Callable[[str], int], frame_tokens: int
) -> tuple[Message, ...]:
    """The system message; an example follows as turns if it has its message, and is part of that message if not."""
    if variant == "whole":
        return (Message("system", whole(spec, WHOLE_TOKENS, count_tokens).text),)
    text = frame(spec, [clause.id], frame_tokens, count_tokens).text
    if variant == "frame" or not clause.good:
        return (Message("system", text),)
    example = clause.good[0]
    if example.message:
        return Message("system", text), Message("user", example.message), Message("assistant", example.reply)
    wording = in_language(_WITH_EXAMPLE, spec.language).read_text(encoding="utf-8").strip()
    return (Message("system", wording.replace("{frame}", text).replace("{example}", example.reply)),)
