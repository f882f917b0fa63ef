"""Values that cross the sandbox's wall, as JSON that keeps their types, and when two of them are equal.

A harness in another language writes the same: a list of a tag and a content, so that 1, 1.0, "1" and True stay four
things. This file is read inside the sandbox as well, beside the Python harness, so it imports nothing of the project.
"""

from __future__ import annotations

import base64
import math
from typing import Any

_DEEPEST = 100


def to_tagged(value: Any, depth: int = 0) -> list[Any]:
    """JSON-ready. Raises TypeError for what has no counterpart in other languages, such as a set or an object.

    Neither has a map whose keys are one there: 1 and "1" in PHP.
    """
    if depth > _DEEPEST:
        raise TypeError(f"a value is nested more than {_DEEPEST} deep")
    if value is None:
        return ["null", None]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", str(int(value))]  # as text: JSON's numbers are often read as doubles
    if isinstance(value, float):
        return ["float", repr(float(value))]
    if isinstance(value, str):
        return ["str", value] if _has_utf8(value) else ["bytes", _base64(value.encode("utf-8", "surrogatepass"))]
    if isinstance(value, bytes | bytearray):
        return ["bytes", _base64(bytes(value))]
    if isinstance(value, list | tuple):
        return ["tuple" if isinstance(value, tuple) else "list", [to_tagged(item, depth + 1) for item in value]]
    if isinstance(value, dict):
        if len({_as_bytes(key) for key in value}) < len(value):
            raise TypeError("a map whose keys are equal as text has no counterpart in other languages")
        return ["map", [[to_tagged(key, depth + 1), to_tagged(item, depth + 1)] for key, item in value.items()]]
    raise TypeError(f"a value of type {type(value).__name__} has no counterpart in other languages")


def from_tagged(tagged: Any) -> Any:
    """The Python value. Raises ValueError for what is not tagged JSON."""
    if not isinstance(tagged, list) or len(tagged) != 2:
        raise ValueError(f"not a tag and a content: {str(tagged)[:80]}")
    tag, content = tagged
    kinds: dict[str, Any] = {"null": type(None), "bool": bool, "list": list, "tuple": list, "map": list}
    if not isinstance(tag, str) or not isinstance(content, kinds.get(tag, str)):
        raise ValueError(f"not a {tag}: {str(content)[:80]}")
    if tag in ("null", "bool"):
        return content
    if tag == "str":
        return content if _has_utf8(content) else content.encode("utf-8", "surrogatepass")
    if tag == "int":
        return int(content)
    if tag == "float":
        return float(content)
    if tag == "bytes":
        return base64.b64decode(content, validate=True)
    if tag in ("list", "tuple"):
        items = [from_tagged(item) for item in content]
        return tuple(items) if tag == "tuple" else items
    if tag == "map":
        return {_hashable(from_tagged(key)): from_tagged(item) for key, item in content}
    raise ValueError(f"no such tag: {str(tag)[:80]}")


def is_equal(expected: Any, found: Any, tolerance: float = 1e-9) -> bool:
    """Whether what another language found is what Python expects, type by type.

    Floats may differ by `tolerance`, relative to the larger one or absolute. Left to the languages' own ways: a float
    that is whole may come as an integer, since there `6 / 2` is one; bytes that are UTF-8 may come as text; a map's
    keys are compared as text and without their order; an empty list is an empty map, and a tuple a list.
    """
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return expected is found
    if isinstance(expected, float):
        return isinstance(found, int | float) and _is_close(expected, found, tolerance)
    if isinstance(expected, int):
        return isinstance(found, int) and expected == found
    if isinstance(expected, str | bytes):
        return isinstance(found, str | bytes) and _as_bytes(expected) == _as_bytes(found)
    if len(expected) == 0 and isinstance(found, list | tuple | dict):
        return len(found) == 0
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            found = dict(enumerate(found)) if isinstance(found, list | tuple) else None
        if found is None:
            return False
        pairs, others = ({_as_bytes(key): item for key, item in one.items()} for one in (expected, found))
        same = pairs.keys() == others.keys() and len(expected) == len(found)
        return same and all(is_equal(item, others[key], tolerance) for key, item in pairs.items())
    if not isinstance(found, list | tuple) or len(expected) != len(found):
        return False
    return all(is_equal(one, other, tolerance) for one, other in zip(expected, found, strict=True))


def _is_close(expected: float, found: float, tolerance: float) -> bool:
    if isinstance(found, int) and abs(found) > 2**1023:
        return False  # no float is that large
    if math.isnan(expected) or math.isnan(found):
        return math.isnan(expected) and math.isnan(found)
    return math.isclose(expected, found, rel_tol=tolerance, abs_tol=tolerance)


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        raise ValueError("a map's key is a list or a map, or holds one") from None
    return key


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_bytes(value: Any) -> bytes:
    """Text or a map's key, as it is written out."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
