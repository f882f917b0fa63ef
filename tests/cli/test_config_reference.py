from pathlib import Path

from ethos.cli.config_reference import config_reference
from ethos.store.knobs import knob_table

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_what_the_fields_say_now() -> None:
    command = "python -m ethos.cli.config_reference > docs/config.md"
    assert PAGE.read_text(encoding="utf-8") == config_reference(), f"out of date; run `{command}`"


def test_every_knob_stands_on_the_page_with_its_meaning() -> None:
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    for knob in knob_table():
        name = knob.path.removesuffix(".NAME").rpartition(".")[2]
        meaning = " ".join(knob.meaning.split())
        assert any(row.startswith(f"| `{name}` |") and meaning in row and "Takes effect" in row for row in rows)


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    assert [row for row in rows if not row.rstrip(" |").partition("|")[2].split("|")[3:]] == []
