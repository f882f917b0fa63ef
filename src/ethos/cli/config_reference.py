"""Writes `docs/config.md` from the fields of the config: `python -m ethos.cli.config_reference > docs/config.md`.

A field's meaning is its docstring, its bounds are those that are checked: neither is written down twice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ethos.store.config.run import RunConfig

INTRODUCTION = """\
# Config of a run

<!-- Written by `python -m ethos.cli.config_reference > docs/config.md` from the fields' docstrings; edit those. -->

A run is one YAML file: `name` and `spec` are needed, the rest has defaults. Unknown fields are refused.
It never changes after the launch; what may change while the run trains are the [knobs](#knobs), by `ethos adjust`
(see [steering](steering.md)). `ethos run CONFIG --dry-run` prints the config with every default filled in.
"""

HEADER = "| field | takes | default | meaning |\n|---|---|---|---|"
WORDS = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`", "null": "`null`"}
TAKES_EFFECT = {"live": "Takes effect at the next step.", "next-sample": "Takes effect at the next sample or look."}

Schema = dict[str, Any]


def config_reference() -> str:
    """The whole page."""
    schema = RunConfig.model_json_schema()
    return "\n\n".join([INTRODUCTION.rstrip(), *_sections(schema, schema["$defs"], "")]) + "\n"


def _sections(schema: Schema, definitions: Mapping[str, Schema], path: str) -> Iterator[str]:
    """The table of a section's own fields, then the sections inside it, each under its heading."""
    fields: Mapping[str, Schema] = schema["properties"]
    inner = {name: reference for name, field in fields.items() if (reference := _reference(field))}
    rows = [
        _row(name, field, name in schema.get("required", ())) for name, field in fields.items() if name not in inner
    ]
    if rows:
        yield "\n".join([HEADER, *rows])
    for name, reference in inner.items():
        inner_path = f"{path}.{name}" if path else name
        section = definitions[reference]
        yield f"{'#' * min(4, 2 + path.count('.') + bool(path))} {inner_path}"
        yield _prose(section["description"])
        if own := fields[name].get("description"):
            yield _prose(own)
        if fields[name].get("type") == "array":
            yield "A list; the default is\n\n```yaml\n" + _yaml({name: fields[name]["default"]}) + "```\n\nand each has"
        yield from _sections(section, definitions, inner_path)


def _reference(field: Schema) -> str | None:
    """The name of the section that a field holds, or holds a list of."""
    reference: str = field.get("$ref", field.get("items", {}).get("$ref", ""))
    return reference.rpartition("/")[2] or None


def _row(name: str, field: Schema, needed: bool) -> str:
    default = "needed" if needed else f"`{json.dumps(field['default'], ensure_ascii=False)}`"
    effect = TAKES_EFFECT.get(field.get("live", ""), "")
    cells = [f"`{name}`", _takes(field), default, f"{_prose(field.get('description', ''))} {effect}".strip()]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _prose(docstring: str) -> str:
    """A docstring in the words of a YAML file, on one line."""
    return " ".join(docstring.replace("None", "`null`").split())


def _takes(field: Schema) -> str:
    """What values a field takes, in words."""
    if "anyOf" in field:
        return ", or ".join(_takes(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"a list of {_takes(field['items'])}"
    if field["type"] == "object":
        return f"names, each with {_takes(field['additionalProperties'])}"
    if field["type"] == "string":
        return "a path" if field.get("format") == "path" else "text"
    return " ".join([WORDS[field["type"]], *_bounds(field)])


def _bounds(field: Schema) -> Iterator[str]:
    for key, words in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to")):
        if key in field:
            yield f"{words} {field[key]:g}"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    sys.stdout.write(config_reference())
