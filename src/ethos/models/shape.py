"""The size of a model: what a dry run needs to know whether it fits, without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ethos.errors import EthosError

_HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts that give a model's memory. Head width is in numbers, context in tokens."""

    parameters: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int

    def weight_bytes(self, bytes_per_number: int = 2) -> int:
        """Memory of the weights; 2 bytes a number in bf16, 4 in fp32."""
        return self.parameters * bytes_per_number

    def kv_bytes_per_token(self, bytes_per_number: int = 2) -> int:
        """Memory of one token's keys and values over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_width * bytes_per_number


def read_shape(directory: Path) -> Shape:
    """The shape of a Hugging Face directory, from config.json and the headers of its safetensors files.

    Raises EthosError if config.json is missing or doesn't describe a decoder that we can size.
    """
    path = directory / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads = config["num_attention_heads"]
        return Shape(
            parameters=_count_parameters(directory),
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EthosError(
            f"{path}: doesn't describe a language model ({type(error).__name__}: {error}); "
            "name a whole Hugging Face directory of a decoder"
        ) from error


def _count_parameters(directory: Path) -> int:
    """Numbers in all tensors; a file's header names each tensor's shape (github.com/huggingface/safetensors)."""
    total = 0
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(file.read(length))
        total += sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total
