"""How large a model is, where a file on this machine tells it: nothing is fetched, nothing loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ethos.models.catalogue import Entry, GgufFile, HubModel
from ethos.models.shape import Shape, read_gguf_shape, read_shape


def sized(entry: Entry) -> Entry:
    """The entry with its shape, if that can be known now: of a model of the hub once it has been fetched.

    Raises EthosError for a file that is no model.
    """
    if entry.shape is not None:
        return entry
    if isinstance(entry.source, GgufFile):
        return replace(entry, shape=read_gguf_shape(entry.source.path))
    return replace(entry, shape=_fetched_shape(entry.source)) if isinstance(entry.source, HubModel) else entry


def _fetched_shape(source: HubModel) -> Shape | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source.repository, "config.json", revision=source.revision or "main")
    if not isinstance(config, str):
        return None
    shape = read_shape(Path(config).parent)
    return shape if shape.parameters else None  # its weights are not all here yet
