"""From a Hugging Face directory to a model and tokenizer in memory, in the precision that the hardware is fast in."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from ethos.errors import EthosError

Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to compute, and what turns text into its tokens."""

    model: Any
    tokenizer: Any
    end_tokens: frozenset[int]  # any of them ends a reply


def compute_device() -> torch.device:
    """CUDA if it is there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: Precision = "auto") -> torch.dtype:
    """bf16 where the hardware multiplies it natively and no slower, fp32 otherwise; `precision` overrules."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _cpu_gains_from_bf16() else torch.float32


@cache
def _cpu_gains_from_bf16() -> bool:
    """Whether this CPU multiplies in bf16, and at least as fast as in fp32: tried once a process, in 0.1 s.

    Having the instruction isn't enough: a Xeon without AMX was seen to multiply bf16 at 0.6 of the speed of fp32, an
    EPYC with AVX-512 BF16 at four times of it. None was near 1, so the answer doesn't change from run to run.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    return _product_seconds(torch.bfloat16) <= _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """The shortest of five products of the shape and size that a small model has."""
    tokens, weight = torch.ones(256, 1024, dtype=dtype), torch.ones(2048, 1024, dtype=dtype)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        torch.nn.functional.linear(tokens, weight)
        taken.append(time.perf_counter() - began)
    return min(taken)


def load(directory: Path, precision: Precision = "auto") -> Loaded:
    """Loads weights and tokenizer.

    Raises EthosError if the directory doesn't hold a causal language model, or its weights aren't all that its config
    asks for: what is missing would stay random.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model, found = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=compute_dtype(precision),
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except Exception as error:  # what a broken file raises differs by its part and by version; `tokenizers`: Exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if "allocate memory" in reason or "out of memory" in reason:
            raise EthosError(f"{directory}: doesn't fit into memory ({reason}); name a smaller model") from error
        raise EthosError(
            f"{directory}: can't be loaded as a causal language model ({reason}); "
            "name a Hugging Face directory with config.json, safetensors and a tokenizer"
        ) from error
    _require_all_weights(directory, found)
    model.to(compute_device()).eval().requires_grad_(False)
    return Loaded(model, tokenizer, _end_tokens(model, tokenizer))


def sharing_weights(loaded: Loaded) -> Loaded | None:
    """A second model on the very weights of the first, which sees nothing of what is added to it, such as adapters.

    None if the first holds them no more, because an engine keeps them in another order.
    """
    held = [*loaded.model.parameters(), *loaded.model.buffers()]
    if any(tensor.numel() == 0 for tensor in held):
        return None
    return Loaded(
        copy.deepcopy(loaded.model, {id(tensor): tensor for tensor in held}), loaded.tokenizer, loaded.end_tokens
    )


def _require_all_weights(directory: Path, found: Mapping[str, Any]) -> None:
    """`found` is what transformers says of the loading; a tied weight isn't missing."""
    wrong = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    wrong += [
        f"{name} has the shape {list(has)} where the config asks for {list(wanted)}"
        for name, has, wanted in sorted(found["mismatched_keys"])
    ]
    if wrong:
        others = f", and {len(wrong) - 1} more don't fit" if len(wrong) > 1 else ""
        raise EthosError(
            f"{directory}: its weights aren't those of its config.json ({wrong[0]}{others}); "
            "save or download the model again, whole"
        )


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The end-of-text and end-of-turn tokens, as generation config and tokenizer name them."""
    named = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    vocabulary = tokenizer.get_vocab()
    ids.update(vocabulary.get(token) for token in ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>"))
    return frozenset(i for i in ids if isinstance(i, int))
