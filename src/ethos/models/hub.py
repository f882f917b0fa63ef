"""Models of the Hugging Face hub: fetched into the hub's own cache, where a snapshot that is whole needs no network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ethos.errors import EthosError
from ethos.models.catalogue import HubModel
from ethos.progress import Bar, Progress

_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")
_TIMEOUT_S = 5.0
_MB = 1_000_000


def hub_directory(name: str, source: HubModel, ui: Progress) -> Path:
    """The snapshot of a model. Raises EthosError if the hub doesn't give it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    wanted = {"revision": source.revision, "allow_patterns": list(_FILES)}
    try:
        with ui.stage(f"fetching {name} from the hub", unit="MB") as bar:
            found = snapshot_download(
                source.repository, etag_timeout=_TIMEOUT_S, tqdm_class=_counter_for(bar), **wanted
            )
    except (HTTPError, HFValidationError, OSError, RuntimeError) as error:  # RuntimeError: hf_xet's transfer broke off
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EthosError(
            f"{name}: can't be fetched from the hub ({reason}); "
            "check the name, your access and the network, or name a local directory"
        ) from error
    return Path(found)


def _counter_for(bar: Bar) -> type:
    """What the hub takes for the bars that it shows itself: those that count bytes move ours, from any thread.

    It has two of them, for what is received and what is written; the one that is ahead is shown.
    """
    from huggingface_hub.utils import tqdm

    lock = threading.Lock()

    class Counter(tqdm):  # type: ignore[misc]
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **{**options, "disable": True})
            self.counts_bytes = options.get("unit") == "B"
            self.bytes_done = float(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            if self.counts_bytes:
                with lock:
                    self.bytes_done += n or 0
                    bar.total = max(bar.total or 0, int((self.total or 0) // _MB)) or None
                    if (more := int(self.bytes_done // _MB) - bar.done) > 0:
                        bar.advance(more)

    return Counter
