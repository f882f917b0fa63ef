"""Trained weights as Hugging Face directories, whole or absent whenever the process is killed.

Each raises EthosError if the disk can't hold it. Adapters are merged into a copy of the weights, in fp32.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation
from ethos.store.files import disk_errors_told, flush


def export_model(model: Any, tokenizer: Any, directory: Path) -> None:
    """What `transformers` and vLLM load as it is, template as trained; `adapter/` in it holds what `peft` saves."""

    def write(folder: Path) -> None:
        base, weights = base_of(model), _merged_weights(model)
        if is_adapted(model):
            model.save_pretrained(folder / "adapter")
        if base.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        base.save_pretrained(folder, state_dict=weights)
        tokenizer.save_pretrained(folder)

    _write_whole(directory, write)


def export_adapter(model: Any, directory: Path) -> None:
    """The adapters alone, as `peft` and vLLM load them."""
    _write_whole(directory, model.save_pretrained)


def export_reward_model(model: Any, template: ChatTemplate, scalar_head_E: Tensor, directory: Path) -> None:
    """Trunk and scalar head, for sequence classification with one label."""
    from transformers import AutoModelForSequenceClassification

    def write(folder: Path) -> None:
        config, tokenizer = copy.deepcopy(base_of(model).config), copy.deepcopy(template.tokenizer)
        tokenizer.pad_token_id = config.pad_token_id = _pad_token(template)
        config.num_labels = 1
        with torch.device("meta"):
            classifier = AutoModelForSequenceClassification.from_config(config)
        weights = {name: tensor for name, tensor in _merged_weights(model).items() if not name.startswith("lm_head.")}
        weights["score.weight"] = scalar_head_E.detach().clone()[None]
        classifier.load_state_dict(weights, assign=True)
        classifier.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    _write_whole(directory, write)


def base_of(model: Any) -> Any:
    """The Hugging Face model, out of `peft`'s wrapper if it is in one."""
    return model.get_base_model() if is_adapted(model) else model


def is_adapted(model: Any) -> bool:
    """Whether `peft` wraps it."""
    return hasattr(model, "get_base_model")


def _pad_token(template: ChatTemplate) -> int | None:
    """What a classifier skips at the end of a row; never the token that ends a turn, where the value is read."""
    tokenizer, turn = template.tokenizer, template.row(Conversation.user("?").then("assistant", "!")).tokens
    usable = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
    return next((token for token in usable if token is not None and token != turn[-1]), None)


def _merged_weights(model: Any) -> dict[str, Tensor]:
    """The base's weights, each adapter's update added."""
    base = base_of(model)
    if not is_adapted(model):
        return {name: tensor.detach().clone() for name, tensor in base.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, module in base.named_modules():
        if hasattr(module, "base_layer"):
            update = sum(module.get_delta_weight(adapter).float() for adapter in module.active_adapters)
            weight = module.base_layer.weight
            weights[f"{name}.weight"] = (weight.float() + update).to(weight.dtype)
            if module.base_layer.bias is not None:
                weights[f"{name}.bias"] = module.base_layer.bias.detach().clone()
    for name, tensor in base.state_dict().items():
        if ".base_layer." not in name and ".lora_" not in name and name not in weights:
            weights[name] = tensor.detach().clone()
    return weights


def _write_whole(directory: Path, write: Callable[[Path], None]) -> None:
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with disk_errors_told(directory):
        write(unfinished)
        for path in unfinished.rglob("*"):
            flush(path)
        shutil.rmtree(directory, ignore_errors=True)
        unfinished.rename(directory)
        flush(directory.parent)
