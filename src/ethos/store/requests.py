"""What is asked of a run: one JSON file each, renamed into place, answered once.

Whoever holds `run.lock` takes them up at a boundary: `pending`, then the journal, then `answer`. A kill
between the last two is healed by the next `pending`, which answers from the journal and applies nothing.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ethos.errors import EthosError
from ethos.spec.types import Json
from ethos.store.canonical import canonical_json, utc_now
from ethos.store.files import write_atomically
from ethos.store.journal import Journal
from ethos.store.run_directory import RunDirectory

RequestKind = Literal["adjust", "pause", "resume", "note"]
Outcome = Literal["applied", "refused"]


@dataclass(frozen=True, slots=True)
class Request:
    """One thing asked. The payload of `adjust` is `{"changes": {"lr": 1e-4, …}}`; of the others, `{}`."""

    id: str  # the file's name; sorts by time
    kind: RequestKind
    payload: Mapping[str, Json]
    author: str
    reason: str
    filed: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    id: str
    outcome: Outcome
    message: str
    sequence: int | None  # the first journal entry it led to
    answered: str


def file_request(run: RunDirectory, kind: RequestKind, payload: Mapping[str, Json], author: str, reason: str) -> str:
    """Files a request and returns its id. Raises EthosError if it is malformed, or can't be written there."""
    moment = utc_now()
    request = {"kind": kind, "payload": dict(payload), "author": author, "reason": reason, "filed": moment}
    request_id = f"{''.join(c for c in moment[:26] if c not in '-:')}-{secrets.token_hex(4)}"
    _parse(request_id, request)
    write_atomically(_file_of(run, request_id), canonical_json(request).encode())
    return request_id


def pending(run: RunDirectory, journal: Journal) -> list[Request]:
    """What waits to be applied, oldest first. Only for the holder of the run's lock.

    Malformed files are answered as refused here, and requests that the journal knows as applied.
    """
    waiting: list[Request] = []
    for path in sorted(path for path in run.requests.glob("[!.]*.json") if path.is_file()):
        if _answer_path(run, path.stem).exists():
            path.unlink()
            continue
        try:
            request = _parse(path.stem, json.loads(path.read_text(encoding="utf-8")))
        except (EthosError, OSError, ValueError, RecursionError) as error:
            answer(run, path.stem, "refused", f"the request can't be read: {error}", None)
            continue
        sequence = journal.sequence_of(request.id)
        if sequence is None:
            waiting.append(request)
        else:
            answer(run, request.id, "applied", "applied before the run was interrupted", sequence)
    return waiting


def answer(run: RunDirectory, request_id: str, outcome: Outcome, message: str, sequence: int | None) -> None:
    """Moves a request to `requests/answered/`, with its outcome: after its journal entries, never before."""
    path = _file_of(run, request_id)
    given = Answer(request_id, outcome, message, sequence, utc_now())
    record = {"request": _text_of(path), "answer": asdict(given)}
    # a message may quote what was asked, and half a surrogate pair in it has no UTF-8
    write_atomically(_answer_path(run, request_id), canonical_json(record).encode(errors="replace"))
    path.unlink(missing_ok=True)


def read_answer(run: RunDirectory, request_id: str) -> Answer | None:
    """The answer, or None while there is none."""
    try:
        record = json.loads(_answer_path(run, request_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Answer(**record["answer"])


def wait_for_answer(run: RunDirectory, request_id: str, timeout_s: float, poll_s: float = 0.1) -> Answer | None:
    """Waits for the answer; None when the time is over, and the request still waits for the next boundary."""
    deadline = time.monotonic() + timeout_s
    while (given := read_answer(run, request_id)) is None and time.monotonic() < deadline:
        time.sleep(poll_s)
    return given


def _file_of(run: RunDirectory, request_id: str) -> Path:
    return run.requests / f"{request_id}.json"


def _answer_path(run: RunDirectory, request_id: str) -> Path:
    return run.answered / f"{request_id}.json"


def _text_of(path: Path) -> str:
    """The file as it was filed, for the record; one that can't be read must not stop the run."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _parse(request_id: str, content: Any) -> Request:
    """Raises EthosError that names the field."""
    if not isinstance(content, dict):
        raise EthosError("a request is a JSON object; file it with `ethos adjust`, `pause` or `resume`")
    missing = {"kind", "payload", "author", "reason", "filed"} ^ content.keys()
    if missing:
        raise EthosError(f"a request has kind, payload, author, reason and filed; mend {', '.join(sorted(missing))}")
    kind, payload = content["kind"], content["payload"]
    if kind not in get_args(RequestKind):
        raise EthosError(f"{kind!r} is no kind of request; use one of {', '.join(get_args(RequestKind))}")
    for name in ("author", "reason", "filed"):
        if not isinstance(content[name], str):
            raise EthosError(f"{name} of a request is text; give it in quotes")
    changes = payload.get("changes") if isinstance(payload, dict) else None
    if kind == "adjust" and not (isinstance(changes, dict) and changes):
        raise EthosError('an adjust request carries {"changes": {KNOB: VALUE, …}}; name at least one knob')
    if kind != "adjust" and payload != {}:
        raise EthosError(f"a {kind} request carries an empty payload; put what there is to say into its reason")
    try:
        canonical_json([request_id, content]).encode()
    except ValueError as error:
        raise EthosError(f"a request holds finite numbers and Unicode text; mend it ({error})") from error
    return Request(request_id, kind, payload, content["author"], content["reason"], content["filed"])
