"""Changes of knobs: read from what was typed, checked against the bounds on the config's fields, applied.

A knob is named by its path: `lr`, `mixture.documents`. Its field in the config is the only place that states
its bounds, its meaning and its liveness.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ethos.errors import EthosError
from ethos.spec.types import Json
from ethos.store.config.knobs import Knobs, Liveness
from ethos.store.config.run import describe_validation_error

Number = int | float
_NAME = "NAME"  # in the table, where a run gives the name


@dataclass(frozen=True, slots=True)
class Knob:
    """What there is to know about one knob."""

    path: str
    type: type[int] | type[float]
    default: Number
    minimum: Number
    maximum: Number
    minimum_excluded: bool
    meaning: str
    live: Liveness  # "live": from the next step on; "next-sample": from the next sample or look on

    @property
    def bounds(self) -> str:
        """In words: `a number from 0 to 0.01`."""
        number = "a whole number" if self.type is int else "a number"
        low = f"above {self.minimum:g} and up to" if self.minimum_excluded else f"from {self.minimum:g} to"
        return f"{number} {low} {self.maximum:g}"

    def contains(self, value: Number) -> bool:
        """Whether the value lies within the bounds; NaN doesn't."""
        above = value > self.minimum if self.minimum_excluded else value >= self.minimum
        return above and value <= self.maximum


@cache
def knob_table() -> tuple[Knob, ...]:
    """All knobs, in the order of the config's fields, for help and docs. `NAME` stands for a name that a run gives."""
    return tuple(_knobs_of(Knobs, ""))


def knob_values(knobs: Knobs) -> dict[str, Number]:
    """All knobs of a run by their paths."""
    values: dict[str, Number] = {}
    for knob in knob_table():
        section, _, name = knob.path.rpartition(".")
        if name == _NAME:
            values |= {f"{section}.{given}": value for given, value in attrgetter(section)(knobs).items()}
        else:
            values[knob.path] = attrgetter(knob.path)(knobs)
    return values


def parse_change(text: str) -> tuple[str, Number]:
    """Reads `lr=1e-4` or `mixture.documents=0.5`. Raises EthosError for any other form, name or type."""
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path or not value:
        raise EthosError(f"'{text}' is no change of a knob; write NAME=VALUE, for example lr=1e-4")
    knob = _find(path)
    try:
        return path, knob.type(value)
    except ValueError as error:
        raise EthosError(f"{path} can't be {value}; give {knob.bounds}") from error


def apply_change(knobs: Knobs, path: str, value: Json) -> Knobs:
    """The knobs with one of them changed.

    Raises:
        EthosError: unknown name, wrong type, out of bounds, or the value that it has already.
    """
    changed = with_knob(knobs, path, value)
    if changed == knobs:
        raise EthosError(f"{path} is {value} already, so there is nothing to change; give another value")
    return changed


def with_knob(knobs: Knobs, path: str, value: Json) -> Knobs:
    """As `apply_change`, but setting the value that it has already is no error."""
    knob = _find(path)
    if isinstance(value, bool) or not isinstance(value, int if knob.type is int else int | float):
        raise EthosError(f"{path} can't be {value!r}; give {knob.bounds}")
    if not knob.contains(value):
        raise EthosError(f"{path} is {value}, out of its bounds; give {knob.bounds}")
    *sections, name = path.split(".")
    fields: dict[str, Any] = knobs.model_dump()
    section = fields
    for part in sections:
        section = section[part]
    if _is_given(path) and name not in section:
        known = ", ".join(f"{'.'.join(sections)}.{given}" for given in section) or "none in this run"
        raise EthosError(f"there is no knob named {path}; of these there are: {known}")
    section[name] = value
    try:
        return Knobs.model_validate(fields)
    except ValidationError as error:
        raise EthosError(f"{path} can't be {value}: {describe_validation_error(error)}") from error


def knob_value(knobs: Knobs, path: str) -> Number:
    """The value of the knob of that name. Raises EthosError for an unknown name."""
    _find(path)
    return knob_values(knobs)[path]


def _find(path: str) -> Knob:
    by_path = {knob.path: knob for knob in knob_table()}
    section, _, name = path.rpartition(".")
    if name != _NAME and path in by_path:
        return by_path[path]
    if name and f"{section}.{_NAME}" in by_path:
        return replace(by_path[f"{section}.{_NAME}"], path=path)
    nearest = difflib.get_close_matches(path, by_path, n=1, cutoff=0.4)
    meant = f"did you mean {nearest[0]}?" if nearest else f"the knobs are {', '.join(by_path)}"
    raise EthosError(f"there is no knob named {path}; {meant}")


def _is_given(path: str) -> bool:
    """Whether a run's config gave the last part of the name."""
    return f"{path.rpartition('.')[0]}.{_NAME}" in {knob.path for knob in knob_table()}


def _knobs_of(section: type[BaseModel], prefix: str) -> Iterator[Knob]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _knobs_of(field.annotation, f"{prefix}{name}.")
        elif get_origin(field.annotation) is dict:  # of numbers, by names that a run gives
            _, each = get_args(field.annotation)
            number, limits = get_args(each)
            yield _knob(f"{prefix}{name}.{_NAME}", field, number, limits.metadata, default=1.0)
        else:
            yield _knob(f"{prefix}{name}", field, field.annotation, field.metadata, field.default)


def _knob(path: str, field: FieldInfo, number: Any, limits: list[Any], default: Number) -> Knob:
    bounds = {name: getattr(m, name) for m in limits for name in ("ge", "gt", "le") if hasattr(m, name)}
    extra = field.json_schema_extra
    assert isinstance(extra, dict), f"{path} states no liveness"
    assert bounds.keys() in ({"ge", "le"}, {"gt", "le"}), f"{path} needs both bounds"
    return Knob(
        path=path,
        type=int if number is int else float,
        default=default,
        minimum=bounds["gt"] if "gt" in bounds else bounds["ge"],
        maximum=bounds["le"],
        minimum_excluded="gt" in bounds,
        meaning=field.description or "",
        live=extra["live"],  # type: ignore[arg-type]
    )
