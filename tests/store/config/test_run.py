from __future__ import annotations

from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.store.config.run import load_config, without_places

CONFIG = "name: wren\nspec: spec.md\n"


def loaded(folder: Path, more: str) -> str:
    """What is said of a config."""
    (folder / "config.yaml").write_text(CONFIG + more)
    with pytest.raises(EthosError) as raised:
        load_config(folder / "config.yaml")
    return str(raised.value)


def test_a_clause_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    """Each counts towards the smallest pool."""
    said = loaded(tmp_path, "clauses: [units, brevity, units]\n")
    assert "config.yaml: clauses: units is listed twice; list each clause once" in said
    (tmp_path / "config.yaml").write_text(f"{CONFIG}clauses: [units, brevity]\n")
    assert load_config(tmp_path / "config.yaml").clauses == ("units", "brevity")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("budget: {usd: 1}\nmodels: {teacher: 'NAME'}\n", "budget.usd needs a price for openai:"),
        ("models: 'NAME'\n", "models: "),
        ("seed: 'NAME'\n", "seed: "),
        ("models: {endpoints: [{name: 'NAME'}]}\n", "plays no part"),
    ],
)
@pytest.mark.parametrize("name", ["openai:https://u:sesame@example.org/v1#m", "openai:u:sesame@example.org/v1#m"])
def test_no_sentence_repeats_a_secret_in_the_name_of_a_model(tmp_path: Path, name: str, more: str, said: str) -> None:
    found = loaded(tmp_path, more.replace("NAME", name))
    assert said in found
    assert "…example.org" in found
    assert "sesame" not in found


def test_only_where_its_files_lie_does_not_tell_one_config_from_another() -> None:
    here = without_places("name: wren\nspec: /here/spec.md\ncalibration: null\nbudget: {minutes: .inf}\n")
    there = without_places("name: wren\nspec: /there/spec.md\nbudget: {minutes: .inf}\n")
    assert here == there
    assert without_places("name: wren\nseed: 1\n") != without_places("name: wren\nseed: 2\n")
    assert without_places("name: [") == "name: ["
