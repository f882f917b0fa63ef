"""How the arms that aren't trained put the spec before the student, and which way of prompting is the best.

The base and the trained arm answer a scenario's prompt as it is, under the student's own choice of system message.
The prompted arm gets the spec as a system message in one of three ways, and the best on taste scenarios is compared
with the trained arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from ethos.spec.conversation import Conversation
from ethos.spec.frame import frame, whole
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec

Variant = Literal["whole", "frame", "frame+example"]
VARIANTS: tuple[Variant, ...] = ("whole", "frame", "frame+example")
WHOLE_TOKENS = 3000  # of a spec's text: more of it makes small models worse and every prompt dear


@dataclass(frozen=True, slots=True)
class Prompted:
    """What the student is shown, and how many tokens of it are the system message."""

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
    """As `prompt_for`, for many scenarios; a system message is made once a clause."""
    messages: dict[str, tuple[str, int]] = {}
    for clause_id in dict.fromkeys(scenario.clause_id for scenario in scenarios):
        text = _system_message(variant, spec.clause(clause_id), spec, count_tokens, frame_tokens)
        messages[clause_id] = text, count_tokens(text)
    return [
        Prompted(scenario.prompt.with_system(text), tokens)
        for scenario in scenarios
        for text, tokens in [messages[scenario.clause_id]]
    ]


def best_variant(scores: Mapping[Variant, Sequence[float | None]]) -> Variant:
    """The variant with the highest mean adherence; of equals the first given.

    `scores` are those of the same taste scenarios in the same order; one that is unscored for any variant counts for
    none. Raises ValueError if the variants were read on different numbers of scenarios, or none was scored for all.
    """
    complete = [row for row in zip(*scores.values(), strict=True) if None not in row]
    if not complete:
        raise ValueError("no taste scenario was scored for every variant, so none is the best")
    totals = {
        variant: sum(filter(None, column)) for variant, column in zip(scores, zip(*complete, strict=True), strict=True)
    }
    return max(totals, key=lambda variant: totals[variant])


def _system_message(
    variant: Variant, clause: Clause, spec: Spec, count_tokens: Callable[[str], int], frame_tokens: int
) -> str:
    if variant == "whole":
        return whole(spec, WHOLE_TOKENS, count_tokens).text
    text = frame(spec, [clause.id], frame_tokens, count_tokens).text
    if variant == "frame" or not clause.good:
        return text
    return _example_wording(spec.language).replace("{frame}", text).replace("{example}", clause.good[0])


def _example_wording(language: str) -> str:
    """The file in the spec's language; English where there is none."""
    folder = files(__package__).joinpath("prompts")
    file = folder.joinpath(f"frame_with_example.{language}.md")
    chosen = file if file.is_file() else folder.joinpath("frame_with_example.md")
    return chosen.read_text(encoding="utf-8").strip()
