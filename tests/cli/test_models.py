from pathlib import Path

import pytest
from tests.cli.conftest import Ethos

from ethos.cli import models
from ethos.models.catalogue import Entry
from ethos.models.embedded import EMBEDDED, ByteProgress


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


def test_fetching_shows_what_of_the_download_is_done(ethos: Ethos, monkeypatch: pytest.MonkeyPatch) -> None:
    def downloaded(entry: Entry, progress: ByteProgress) -> Path:
        for done in (1_500_000, 60_000_000, 98_362_432):
            progress(done, 98_362_432)
        return Path("cache/smollm2")

    monkeypatch.setattr(models, "local_directory", downloaded)
    assert ethos("models", "fetch", "embedded:smollm2-135m").err.splitlines() == [
        "fetching embedded:smollm2-135m: 0/98 MB",
        "fetching embedded:smollm2-135m: 98/98 MB in 0:00",
        "embedded:smollm2-135m: ready in cache/smollm2",
    ]
