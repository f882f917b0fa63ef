"""From a GGUF file to a directory that `transformers`, vLLM and our engine load as it is.

Weights are unpacked to bf16 once; the tokenizer and the chat template come out of the same file. What the
file's quantization lost stays lost, and embeddings that the file holds twice stay two. Sharded files and
multimodal models were left out on purpose.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethos.errors import EthosError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONVERSION_VERSION = 1
"""Raised when the same file would give another directory, so that no stale one is found."""

CONVERSION_PARTS = 3
"""How often `convert_gguf` tells that it has come on."""

END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
"""What ends a turn or a document where a vocabulary has it as a token of its own; a GGUF file names only one."""


def converted_fingerprint(gguf_sha256: str) -> str:
    """64 hex digits for what this version makes of a GGUF file with that content."""
    return hashlib.sha256(f"{gguf_sha256} converted by {CONVERSION_VERSION}".encode()).hexdigest()


def converted_directory(models: Path, name: str, gguf_sha256: str) -> Path:
    """Where the conversion of that content lies, or will lie, below `models`."""
    return models / f"{name}-{converted_fingerprint(gguf_sha256)[:12]}"


def convert_gguf(gguf: Path, directory: Path, advance: Callable[[], None] = lambda: None) -> None:
    """Writes `directory` (config, tokenizer, chat template, bf16 safetensors) by rename: whole or absent.

    `advance` is called after each of its `CONVERSION_PARTS`: the tokenizer, the weights, and writing them.
    The caller holds a lock on `directory`. Peak memory is under twice the weights in bf16.
    Raises EthosError if the file isn't a model that `transformers` reads, or if there is no room for the directory.
    """
    from safetensors import SafetensorError

    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        _write_model(gguf, unfinished, advance)
        os.replace(unfinished, directory)
    except (OSError, SafetensorError) as error:
        raise EthosError(
            f"{directory}: can't be written ({error}); make room there, or let ETHOS_CACHE name another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_model(gguf: Path, directory: Path, advance: Callable[[], None]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        advance()
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),  # a model left in its blocks refuses to be saved
        )
    except Exception as error:  # what a broken file raises differs by where it breaks
        reason = " ".join(str(error).split())[:200]
        raise EthosError(
            f"{gguf}: can't be read as a GGUF model ({reason}); "
            "name a whole GGUF file of a Llama- or Qwen-shaped model, or its Hugging Face directory"
        ) from error

    advance()
    _restore_splitting(tokenizer, gguf)
    added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    ends = {added[token] for token in END_TOKENS if token in added} | {tokenizer.eos_token_id}
    generation: Any = model.generation_config
    generation.eos_token_id = sorted(ends - {None})
    generation.bos_token_id = model.config.bos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    generation._from_model_config = False  # else `generate` would take the single end token of config.json
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    advance()


def _restore_splitting(tokenizer: PreTrainedTokenizerFast, gguf: Path) -> None:
    """Puts back what the file only names: how text is normalized and split before the merges apply.

    `transformers` gives every byte-level vocabulary GPT-2's splitting. The names are llama.cpp's
    (`llama-vocab.cpp`).
    """
    from gguf import GGUFReader
    from tokenizers import normalizers, pre_tokenizers

    field = GGUFReader(gguf).fields.get("tokenizer.ggml.pre")
    splitting = None if field is None else field.contents()
    backend = tokenizer.backend_tokenizer
    if splitting in {"smollm", "starcoder", "refact", "command-r"}:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif splitting == "qwen2":
        backend.normalizer = normalizers.NFC()
