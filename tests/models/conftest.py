"""A Hugging Face directory of a few bytes, for what reads files and loads nothing; a cache and a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ethos.store.cache import ResponseCache
from ethos.store.database import RUN_SCHEMA, Database
from ethos.store.ledger import Ledger


@pytest.fixture
def tiny_directory(tmp_path: Path) -> Path:
    """Config and weights that name a shape, without a tokenizer."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_size": 4,
        "vocab_size": 6,
        "max_position_embeddings": 32,
    }
    (directory / "config.json").write_text(json.dumps(config))
    save_file({"embedding": np.zeros((6, 4), np.float32)}, directory / "model-1.safetensors", {"format": "pt"})
    save_file({"norm": np.zeros(4, np.float32)}, directory / "model-2.safetensors")
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    """A response cache of the test's own."""
    opened = ResponseCache(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The ledger of a run's database."""
    with Database.open(tmp_path / "run.db", RUN_SCHEMA) as database:
        yield Ledger(database)
