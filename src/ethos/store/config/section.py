"""What every section of the config is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("holds a NUL character, which no path can; name the file")
    return path


FilePath = Annotated[Path, AfterValidator(_without_nul)]


class Section(BaseModel):
    """A part of the config: immutable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
