from pathlib import Path

from tests.cli.conftest import Ethos

from ethos.models.embedded import EMBEDDED


def test_the_list_names_every_embedded_model(ethos: Ethos) -> None:
    shown = ethos("models", "list").out
    assert all(f"embedded:{name} " in shown for name in EMBEDDED)
    assert "hf:ORG/NAME" in shown


def test_fetching_a_directory_finds_it_where_it_is(ethos: Ethos, folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text(
        '{"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4, "vocab_size": 6,'
        ' "max_position_embeddings": 8}'
    )
    ended = ethos("models", "fetch", "mine")
    assert ended.code == 0, ended.err
    assert ended.err.splitlines()[-1] == f"mine: ready in {folder / 'mine'}"
