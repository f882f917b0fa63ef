"""The size of a model: what a dry run needs to know whether it fits, without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ethos.errors import EthosError

_HEADER_LENGTH_BYTES = 8
_LFS_POINTER = b"version "  # how the file begins that git keeps in the place of a large one


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts that give a model's memory. Head width is in numbers."""

    parameters: int
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int

    def kv_bytes_per_token(self, bytes_per_number: int) -> int:
        """Memory of one token's keys and values over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_width * bytes_per_number

    def activation_bytes_per_token(self, bytes_per_number: int) -> int:
        """What a token of a micro-batch leaves behind for the backward pass, up to the output matrix."""
        attention = (4 * self.heads + 3 * self.kv_heads) * self.head_width  # queries, keys, values, and what is found
        return self.layers * (4 * self.width + attention + 3 * self.feed_forward) * bytes_per_number


def read_shape(directory: Path) -> Shape:
    """The shape of a Hugging Face directory, from config.json and the headers of its safetensors files.

    Raises EthosError if config.json is missing or doesn't describe a decoder that we can size, or if a safetensors
    file isn't whole.
    """
    path = directory / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads = config["num_attention_heads"]
        return Shape(
            parameters=_count_parameters(directory),
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            feed_forward=config.get("intermediate_size") or 4 * config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EthosError(
            f"{path}: doesn't describe a language model ({type(error).__name__}: {error}); "
            "name a whole Hugging Face directory of a decoder"
        ) from error


def read_gguf_shape(path: Path) -> Shape:
    """The shape of a GGUF file, from its header. Raises EthosError if it has none that describes a decoder."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        told = {name: field.contents() for name, field in reader.fields.items() if "tokenizer" not in name}
        family = told["general.architecture"]
        width, heads = told[f"{family}.embedding_length"], told[f"{family}.attention.head_count"]
        return Shape(
            parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
            layers=told[f"{family}.block_count"],
            width=width,
            feed_forward=told[f"{family}.feed_forward_length"],
            heads=heads,
            kv_heads=told.get(f"{family}.attention.head_count_kv") or heads,
            head_width=told.get(f"{family}.attention.key_length") or width // heads,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise EthosError(
            f"{path}: doesn't describe a language model ({type(error).__name__}: {error}); name a whole GGUF file"
        ) from error


def _count_parameters(directory: Path) -> int:
    """Numbers in all tensors; a file's header names each tensor's shape (github.com/huggingface/safetensors)."""
    headers = [_read_header(path) for path in sorted(directory.glob("*.safetensors"))]
    return sum(prod(header[name]["shape"]) for header in headers for name in header if name != "__metadata__")


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        start = file.read(_HEADER_LENGTH_BYTES)
        if start == _LFS_POINTER:
            raise EthosError(f"{path}: is a git-lfs pointer, not the weights; run `git lfs pull` in {path.parent}")
        length = int.from_bytes(start, "little")
        if not 0 < length <= path.stat().st_size - len(start):
            raise EthosError(f"{path}: is cut off, or no safetensors file; download it again")
        header: dict[str, Any] = json.loads(file.read(length))
        return header
