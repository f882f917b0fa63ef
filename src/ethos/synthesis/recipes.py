"""The recipes of a run, in the order of its config."""

from __future__ import annotations

from collections.abc import Sequence

from ethos.store.config.data import SynthesisConfig
from ethos.synthesis.code_translation import CodeTranslation, functions_of
from ethos.synthesis.demonstrations import Demonstrations
from ethos.synthesis.documents import Documents
from ethos.synthesis.preferences import Preferences
from ethos.synthesis.replay import Replay
from ethos.synthesis.revisions import Revisions
from ethos.synthesis.self_image import SelfImage
from ethos.synthesis.types import Recipe


def written_objectives(recipes: Sequence[Recipe], settings: SynthesisConfig) -> set[str]:
    """The objectives that these recipes make rows for."""
    return {objective for recipe in recipes for objective in recipe.written_objectives(settings)}


def recipes_of(settings: SynthesisConfig, plain_prompts: Sequence[str]) -> tuple[Recipe, ...]:
    """All there are; one that a config asks nothing of has nothing to do. Raises EthosError for what can't be used.

    `plain_prompts` call on no clause.
    """
    translation = CodeTranslation(functions_of(settings.code_translation))
    return (Documents(), Demonstrations(), Replay(plain_prompts), Revisions(), Preferences(), SelfImage(), translation)
