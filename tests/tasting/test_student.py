"""The one thing here that no stand-in can show: that a real small student finds the questions neither easy nor hard."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.templates import ChatTemplate
from ethos.models.worker import compute_worker
from ethos.tasting.canaries import screen_families


@pytest.mark.slow
@pytest.mark.model
def test_the_smallest_student_answers_most_families_in_part(smollm2: Path) -> None:
    loaded = load(smollm2)
    student = Engine("smollm2", "smollm2", loaded, ChatTemplate(loaded.tokenizer, None), compute_worker())
    choice = asyncio.run(screen_families(student, 0))
    assert len(choice.families) >= 6
    assert choice.warning is None
