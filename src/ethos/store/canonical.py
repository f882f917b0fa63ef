"""One way to write JSON, digests and times, so that equal values give equal bytes in every file and key."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys, non-ASCII as it is. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def utc_now() -> str:
    """The time as ISO 8601 in UTC with microseconds; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
