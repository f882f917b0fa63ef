"""A spec of checked clauses, a teacher by template, and jobs of a few rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ethos.judging.adherence import Assessor
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_spec
from ethos.spec.scenarios import Family, Scenario
from ethos.spec.types import Spec
from ethos.store.config.data import SynthesisConfig
from ethos.store.rows import Row
from ethos.synthesis.types import Cast, Job, Recipe
from template_teacher import WREN, TemplateTeacher


@pytest.fixture
def wren(tmp_path: Path) -> Spec:
    path = tmp_path / "wren.md"
    path.write_text(WREN)
    return parse_spec(path)


MakeJob = Callable[..., Job]
Made = Callable[..., list[Row]]


@pytest.fixture
def job(wren: Spec) -> MakeJob:
    """A job on the spec; `settings` are those of `synthesis`."""

    def make(scenarios: Sequence[Scenario] = (), seed: int = 0, **settings: Any) -> Job:
        settings = {"demonstrations": {"draws": 3, "max_draws": 3}, **settings}
        config = SynthesisConfig.model_validate(settings)
        return Job(wren, wren.clauses, tuple(scenarios), config, seed, lambda text: len(text.split()))

    return make


@pytest.fixture
def scenario() -> Callable[..., Scenario]:
    """A train scenario of a clause."""

    def make(clause_id: str, text: str = "Where do the swallows go?", *, contrast: bool = False) -> Scenario:
        family = Family(clause_id, "birds", "chat", "train", contrast)
        return Scenario(family, Conversation.user(text))

    return make


@pytest.fixture
def made(wren: Spec) -> Made:
    """The rows that a recipe makes of a job."""

    def make(recipe: Recipe, job: Job, teacher: TemplateTeacher, student: Any = None) -> list[Row]:
        async def gather() -> list[Row]:
            cast = Cast(teacher, student or teacher, Assessor(wren))
            return [row async for row in recipe.rows(job, cast, lambda: None)]

        return asyncio.run(gather())

    return make
