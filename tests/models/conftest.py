"""A Hugging Face directory of a few bytes, for what reads files and loads nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file


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
