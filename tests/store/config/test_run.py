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
    given = "name: wren\nspec: spec.md\nsynthesis: {{code_translation: {{functions: [{}], draws: {}}}}}\n"
    assert without_places(given.format("/here/f.py", 2)) == without_places(given.format("/there/f.py", 2))
    assert without_places(given.format("f.py", 2)) != without_places(given.format("f.py", 3))
    assert without_places("name: wren\nspec: s.md\nseed: 1\n") != without_places("name: wren\nspec: s.md\nseed: 2\n")
    assert without_places("name: [") == "name: ["


def test_a_config_of_before_there_was_a_field_is_the_one_with_its_default() -> None:
    before, with_default = "name: wren\nspec: s.md\n", "name: wren\nspec: s.md\ntasting: {questions: 500}\n"
    assert without_places(before) == without_places(with_default)
    assert without_places(before) != without_places(with_default.replace("500", "400"))
    assert without_places(f"{before}gone: 1\n") == f"{before}gone: 1\n"  # of a version that had another field


def test_each_reward_has_a_weight_of_1_unless_the_config_says_otherwise(tmp_path: Path) -> None:
    functions = "training: {rewards: {functions: {brief: right_answer, kind: right_answer}}}\n"
    path = tmp_path / "config.yaml"
    path.write_text(f"{CONFIG}{functions}knobs: {{rewards: {{weights: {{kind: 3}}}}}}\n")
    assert load_config(path).knobs.rewards.weights == {"brief": 1.0, "kind": 3.0}
    path.write_text(f"{CONFIG}{functions}")
    assert load_config(path).knobs.rewards.weights == {"brief": 1.0, "kind": 1.0}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "knobs: {rewards: {weights: {kind: 1}}}\n",
            "knobs.rewards.weights.kind: training.rewards.functions names no such",
        ),
        ("training: {rewards: {functions: {'a b': right_answer}}}\n", "'a b' can't be the name of a knob"),
        ("training: {rewards: {functions: {kl: right_answer}}}\n", "kl is the divergence from the reference"),
        ("knobs: {mixture: {rewards: 1}}\n", "knobs.mixture.rewards is 1, and training.rewards.functions names no"),
        ("placebo: true\nknobs: {mixture: {documents: 0, demonstrations: 0}}\n", "it shadows documents and"),
        ("training: {keep_every: 50}\n", "50 is no multiple of checkpoint_every (40)"),
        ("training: {rewards: {draws: 1}}\n", "training.rewards.draws: Input should be greater than or equal to 2"),
    ],
)
def test_what_can_not_be_trained_so_is_refused_with_the_mend(tmp_path: Path, more: str, said: str) -> None:
    assert said in loaded(tmp_path, more)


def test_files_of_rows_and_functions_lie_beside_the_config(tmp_path: Path) -> None:
    translation = "synthesis: {code_translation: {functions: [f.py]}}\n"
    (tmp_path / "config.yaml").write_text(f"{CONFIG}rows: [own.jsonl]\n{translation}")
    config = load_config(tmp_path / "config.yaml")
    assert config.rows == (tmp_path / "own.jsonl",)
    assert config.synthesis.code_translation.functions == (tmp_path / "f.py",)
