"""What holds for all tests: no key of the developer's is ever used, slow machines fail no test, weights come once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from ethos.process import give_back_freed_memory, tune_process

tune_process()  # as the command line does
for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"):
    os.environ.pop(key, None)

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _memory_is_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Models and optimizers of one test are gone before the next one makes its own; engines refer to themselves."""
    yield
    if request.node.get_closest_marker("model") is not None:
        gc.collect()
        give_back_freed_memory()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The 135M model as a Hugging Face directory; for tests marked `model`."""
    from ethos.models.catalogue import resolve
    from ethos.models.local import local_directory

    return local_directory(resolve("embedded:smollm2-135m", Path.cwd()))
