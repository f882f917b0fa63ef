"""What is on this machine tells a model's size before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ethos.errors import EthosError
from ethos.models.catalogue import resolve
from ethos.models.shape import Shape
from ethos.models.sizing import sized

SHAPE = Shape(parameters=96, layers=2, width=8, feed_forward=24, heads=2, kv_heads=1, head_width=4)


def test_a_gguf_file_tells_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_tensor("token_embd.weight", np.zeros((12, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    entry = resolve("m.gguf", tmp_path)
    assert entry.shape is None
    assert sized(entry).shape == SHAPE


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all, but long enough for a header"])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(EthosError, match=r"m\.gguf: doesn't describe a language model"):
        sized(resolve("m.gguf", tmp_path))


def test_a_model_of_the_hub_tells_its_shape_once_it_has_been_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    entry = resolve("hf:org/name", tmp_path)
    assert sized(entry).shape is None
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    config = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 24, "num_attention_heads": 2}
    (snapshot / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 1}))
    assert sized(entry).shape is None  # its weights are on their way
    save_file({"weight": torch.zeros(12, 8)}, snapshot / "model.safetensors")
    assert sized(entry).shape == SHAPE
    assert sized(resolve("hf:org/name@other", tmp_path)).shape is None


def test_what_is_known_stays(tmp_path: Path) -> None:
    for name in ("embedded:smollm2-135m", "openai:http://localhost:1/v1#m"):
        entry = resolve(name, tmp_path)
        assert sized(entry) == entry
