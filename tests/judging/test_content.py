"""Which words carry content."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethos.judging import content
from ethos.judging.content import content_words, load_fillers


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("The cat is on the old roof", "en", {"cat", "old", "roof"}),
        ("Die Katze sitzt auf dem alten Dach", "de", {"katze", "sitzt", "alten", "dach"}),
        ("الكلب لا يأكل منذ يومين", "ar", {"الكلب", "لا", "يأكل", "منذ", "يومين"}),
        ("강아지가 밥을 먹지", "ko", {"강아지가", "밥을", "먹지"}),
        ("แมว", "th", {"แ", "ม", "ว"}),
    ],
)
def test_words_count_by_script_and_list(text: str, language: str, expected: set[str]) -> None:
    assert content_words(text, load_fillers(language)) == expected


def test_a_list_without_phrases_is_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "FILLERS", tmp_path)
    (tmp_path / "de.txt").write_text("# German\nder die das auf dem\n")
    load_fillers.cache_clear()
    try:
        assert content_words("Die Katze auf dem Dach", load_fillers("de")) == {"katze", "dach"}
    finally:
        load_fillers.cache_clear()
