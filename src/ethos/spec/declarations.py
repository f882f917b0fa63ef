"""What an `ethos` block may declare: its fields, and the checks with the arguments they take.

Each reader raises ValueError with "what; mend"; `read_block` adds file and line.
Left out on purpose: running the checks, which is `judging/`'s.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import regex
import yaml

from ethos.errors import EthosError
from ethos.spec.language import LANGUAGES
from ethos.spec.types import CheckDeclaration, Example, Json, Tier

_MOST_NODES = 100_000  # of a block with its aliases written out: a few nested ones come to billions
TIERS: tuple[Tier, ...] = ("must", "should", "default")


@dataclass(frozen=True, slots=True)
class Declaration:
    """The fields of a block, with the line of each that is given."""

    id: str | None = None
    tier: Tier = "should"
    over: tuple[str, ...] = ()
    checks: tuple[CheckDeclaration, ...] = ()
    ask: str | None = None
    good: tuple[Example, ...] = ()
    bad: tuple[Example, ...] = ()
    contexts: tuple[str, ...] = ()
    applies: Literal["always", "sometimes"] = "sometimes"
    when: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """A pattern of `must_match` or `must_not_match`, as it is run: found anywhere in the reply, in any case."""
    return regex.compile(pattern, regex.IGNORECASE)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The nearest of the known names, as the mend of an error."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(known)}"


def read_block(yaml_text: str, where: str, fence_line: int) -> Declaration:
    """Reads the YAML of the block whose fence stands in `fence_line` of the file `where`.

    Raises:
        EthosError: with file, line and mend, for YAML or a field, check or argument that can't be used.
    """
    try:
        loader = yaml.SafeLoader(yaml_text)
        node = loader.get_single_node()
        if _written_out(node) > _MOST_NODES:
            raise EthosError(
                f"{where}:{fence_line}: the `ethos` block holds itself by an alias, or repeats without end; "
                "write out what stands behind `*`"
            )
        data = {} if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = fence_line + (0 if mark is None else mark.line + 1)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise EthosError(
            f"{where}:{line}: the `ethos` block is not valid YAML ({problem}); mend that line "
            "(text with a colon, a hash or a backslash goes in single quotes)"
        ) from error
    try:
        json.dumps(data, ensure_ascii=False, default=str, skipkeys=True).encode()
    except UnicodeEncodeError as error:
        raise EthosError(
            f"{where}:{fence_line}: the `ethos` block escapes a character by halves, as `\\ud83d`; write it as it is"
        ) from error
    if not isinstance(data, dict):
        raise EthosError(
            f"{where}:{fence_line}: the `ethos` block holds no fields; write them as `tier: must`, one a line"
        )
    fields: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value_node in node.value if node is not None else ():
        name, line = str(key.value), fence_line + key.start_mark.line + 1
        try:
            if name in lines:
                raise ValueError(f"{name} is given twice, first in line {lines[name]}; keep one")
            lines[name] = line
            if name == "checks":
                fields[name] = tuple(_checks(data[name], value_node, fence_line + 1))
            elif name in _FIELDS:
                fields[name] = _FIELDS[name](name, data[name])
            else:
                raise ValueError(f"{name!r} is not a field of an `ethos` block; {did_you_mean(name, _FIELD_NAMES)}")
        except _CheckError as error:
            raise EthosError(f"{where}:{error.line}: {error}") from error
        except ValueError as error:
            raise EthosError(f"{where}:{line}: {error}") from error
    return Declaration(**fields, lines=lines)


def _written_out(node: yaml.Node | None) -> int:
    """Nodes of the block with its aliases written out, as far as they are counted: to just above the most."""
    waiting, count = [node] if node is not None else [], 0
    while waiting and count <= _MOST_NODES:
        each = waiting.pop()
        count += 1
        if isinstance(each, yaml.MappingNode):
            waiting += [part for pair in each.value for part in pair]
        elif isinstance(each, yaml.SequenceNode):
            waiting += each.value
    return count


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{name} takes text, not {_shown(value)}; write a few words, in quotes if YAML reads them otherwise"
        )
    return value.strip()


def _texts(name: str, value: object) -> tuple[str, ...]:
    values: list[object] = value if isinstance(value, list) else [value]
    texts = tuple(each.strip() for each in values if isinstance(each, str) and each.strip())
    if len(texts) < len(values):
        raise ValueError(f"{name} takes a list of texts, not {_shown(value)}; put each in quotes, after a dash")
    return texts


def _examples(name: str, value: object) -> tuple[Example, ...]:
    values: list[object] = value if isinstance(value, list) else [value]
    examples = []
    for each in values:
        if isinstance(each, dict) and each.keys() == {"message", "reply"}:
            examples.append(Example(_text(f"{name}: reply", each["reply"]), _text(f"{name}: message", each["message"])))
        elif isinstance(each, str) and each.strip():
            examples.append(Example(each.strip()))
        else:
            raise ValueError(
                f"{name} takes replies, not {_shown(each)}; write each in quotes, after a dash, or as a mapping with "
                "`message` and `reply`"
            )
    return tuple(examples)


def _identifier(name: str, value: object) -> str:
    text = _text(name, value)
    if regex.fullmatch(r"[\p{L}\p{M}\p{N}_.:-]+", text) is None:
        raise ValueError(f"{name} {text!r} is not an id; use letters, digits, hyphens, dots or underscores")
    return text


def _one_of(*choices: str) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if value not in choices:
            raise ValueError(f"{name} is {_shown(value)}; write one of {', '.join(choices)}")
        return str(value)

    return read


_FIELDS: dict[str, Callable[[str, object], Any]] = {
    "id": _identifier,
    "tier": _one_of(*TIERS),
    "over": _texts,
    "ask": _text,
    "good": _examples,
    "bad": _examples,
    "contexts": _texts,
    "applies": _one_of("always", "sometimes"),
    "when": _text,
}
_FIELD_NAMES = ("id", "tier", "over", "checks", "ask", "good", "bad", "contexts", "applies", "when")


def _count(name: str, argument: Json) -> None:
    if not isinstance(argument, int) or isinstance(argument, bool) or argument < 1:
        raise ValueError(
            f"{name} takes a whole number of at least 1, not {_shown(argument)}; write for example `{name}: 3`"
        )


def _patterns(name: str, argument: Json) -> None:
    for pattern in argument if isinstance(argument, list) and argument else [argument]:
        if not isinstance(pattern, str) or not pattern:
            raise ValueError(
                f"{name} takes a pattern or a list of patterns, not {_shown(pattern)}; put each in single quotes"
            )
        try:
            compile_pattern(pattern)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{name}: bad pattern {pattern!r} ({error}); mend the regular expression") from error


def _language(name: str, argument: Json) -> None:
    if not isinstance(argument, str) or argument not in {*LANGUAGES, "prompt"}:
        raise ValueError(
            f"{name} takes an ISO 639-1 code such as 'fr', or 'prompt' for the language of the message, "
            f"not {_shown(argument)}; write one of these, in quotes"
        )


def _true(name: str, argument: Json) -> None:
    if argument is not True:
        raise ValueError(f"{name} takes `true`, not {_shown(argument)}; write `{name}: true`, or remove it")


def _any(name: str, argument: Json) -> None:
    """A check of the user's own, `package.module:Name`: it is looked for, and its argument understood, elsewhere."""
    try:
        json.dumps(argument, sort_keys=True)
    except TypeError:
        raise ValueError(
            f"{name} takes text, numbers, lists and mappings of text, not {_shown(argument)}; put it in quotes"
        ) from None


CHECK_ARGUMENTS: dict[str, Callable[[str, Json], None]] = {
    "max_sentences": _count,
    "max_words": _count,
    "must_match": _patterns,
    "must_not_match": _patterns,
    "language": _language,
    "valid_json": _true,
}
"""The checks there are, each with the validator of its argument: it takes name and argument and raises ValueError."""


class _CheckError(ValueError):
    """A check that can't be used, with its line in the file."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _checks(value: object, node: yaml.Node, first_line: int) -> list[CheckDeclaration]:
    """The checks of a mapping, or of a list of single-key mappings."""
    pairs: list[tuple[yaml.Node, Json]] = []
    for mapping, mapping_node in _mappings(value, node):
        pairs += [(key, mapping.get(key.value)) for key, _ in mapping_node.value]
    found: dict[str, CheckDeclaration] = {}
    for key, argument in pairs:
        name, line = str(key.value), first_line + key.start_mark.line
        if name not in CHECK_ARGUMENTS and ":" not in name:
            raise _CheckError(f"there is no check {name!r}; {did_you_mean(name, CHECK_ARGUMENTS)}", line)
        if name in found:
            raise _CheckError(f"check {name} is given twice, first in line {found[name].line}; keep one", line)
        try:
            CHECK_ARGUMENTS.get(name, _any)(name, argument)
        except ValueError as error:
            raise _CheckError(str(error), line) from error
        found[name] = CheckDeclaration(name, argument, line)
    return list(found.values())


def _mappings(value: object, node: yaml.Node) -> list[tuple[dict[str, Json], yaml.Node]]:
    if isinstance(value, dict):
        return [(value, node)]
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return list(zip(value, node.value, strict=True))
    raise ValueError(
        f"checks takes a mapping from check to argument, not {_shown(value)}; write for example `max_words: 80`"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
