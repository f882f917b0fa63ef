"""What holds for all tests: no key of the developer's is ever used, slow machines fail no test, weights come once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from ethos.process import tune_process

tune_process()  # as the command line does
for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"):
    os.environ.pop(key, None)

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The 135M model as a Hugging Face directory; for tests marked `model`."""
    from ethos.models.catalogue import resolve
    from ethos.models.local import local_directory

    return local_directory(resolve("embedded:smollm2-135m", Path.cwd()))
