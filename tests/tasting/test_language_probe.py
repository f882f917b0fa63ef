from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ethos.spec.conversation import Conversation
from ethos.tasting.language_probe import share_written_in

SEA = {
    "en": "The sea is wide and blue, and the waves never rest.",
    "fr": "La mer est immense et bleue, et les vagues ne se reposent jamais.",
    "de": "Das Meer ist weit und blau, und die Wellen ruhen niemals.",
    "es": "El mar es inmenso y azul, y las olas nunca descansan.",
    "zh": "大海宽广而湛蓝，波浪从不停息，海鸥在天空中飞翔。",
    "ja": "海はとても広くて青く、波は決して休むことがありません。",
    "it": "Il mare è vasto e azzurro, e le onde non riposano mai.",
}


@pytest.mark.parametrize("language", SEA)
def test_a_student_that_answers_in_the_language_can_write_it(make: Any, language: str) -> None:
    assert asyncio.run(share_written_in(make.scripted(lambda prompt: SEA[language]), language)) == 1.0


def test_a_student_that_answers_in_english_can_not_write_french(make: Any) -> None:
    assert asyncio.run(share_written_in(make.scripted(lambda prompt: SEA["en"]), "fr")) == 0.0


def test_the_share_of_replies_in_the_language_is_given(make: Any) -> None:
    def answer(prompt: Conversation) -> str:
        return SEA["fr"] if "riz" in prompt.last_user else ""

    assert asyncio.run(share_written_in(make.scripted(answer), "fr")) == pytest.approx(1 / 3)


def test_a_language_without_prompts_of_its_own_is_asked_for_in_english(make: Any) -> None:
    seen: list[str] = []

    def answer(prompt: Conversation) -> str:
        seen.append(prompt.last_user)
        return SEA["it"]

    assert asyncio.run(share_written_in(make.scripted(answer), "it")) == 1.0
    assert all(text.startswith("Answer in Italian: ") for text in seen)
