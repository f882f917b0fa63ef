import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.store.config.knobs import Knobs
from ethos.store.database import Database
from ethos.store.journal import Draft, Journal
from ethos.store.requests import answer, file_request, pending, read_answer, wait_for_answer
from ethos.store.run_directory import RunDirectory

APPLY = """
import sys
from pathlib import Path
from ethos.store.config.knobs import Knobs
from ethos.store.journal import Draft, Journal
from ethos.store.requests import answer, pending
from ethos.store.run_directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
with run.lock(), run.open_database() as database:
    journal = Journal(database, run.name, Knobs())
    for request in pending(run, journal):
        entry = journal.append(Draft(kind="note", name="note", step=1, origin="person", author=request.author,
                                     reason=request.reason, request=request.id))
        print(entry.sequence)
        answer(run, request.id, "applied", "noted", entry.sequence)
"""


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database, "wren", Knobs())


def note(run: RunDirectory, reason: str = "look here") -> str:
    return file_request(run, "note", {}, "ada", reason)


def test_a_request_waits_in_order_until_it_is_answered(run: RunDirectory, journal: Journal) -> None:
    first = file_request(run, "adjust", {"changes": {"lr": 1e-4}}, "ada", "too fast")
    second = file_request(run, "pause", {}, "ada", "lunch")
    waiting = pending(run, journal)
    assert [request.id for request in waiting] == [first, second]
    assert waiting[0].payload == {"changes": {"lr": 1e-4}}
    assert (waiting[0].kind, waiting[0].author, waiting[0].reason) == ("adjust", "ada", "too fast")
    assert read_answer(run, first) is None
    answer(run, first, "refused", "out of bounds", None)
    given = read_answer(run, first)
    assert given is not None
    assert (given.outcome, given.message, given.sequence) == ("refused", "out of bounds", None)
    assert [request.id for request in pending(run, journal)] == [second]
    kept = json.loads((run.answered / f"{first}.json").read_text())
    assert json.loads(kept["request"])["reason"] == "too fast"


def test_ids_sort_in_the_order_of_filing(run: RunDirectory) -> None:
    ids = [note(run) for _ in range(20)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 20


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("adjust", {}), ("adjust", {"changes": {}}), ("adjust", {"changes": [1]}), ("pause", {"x": 1}), ("explode", {})],
)
def test_a_malformed_request_is_never_filed(run: RunDirectory, kind: str, payload: dict[str, object]) -> None:
    with pytest.raises(EthosError):
        file_request(run, kind, payload, "ada", "")  # type: ignore[arg-type]
    assert not run.requests.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"NaN", b'{"kind": "pause"}', b'"text"', b"[" * 100_000,
     b'{"kind": [], "payload": {}, "author": "a", "reason": "", "filed": ""}',
     b'{"kind": "pause", "payload": [], "author": "a", "reason": "", "filed": ""}',
     b'{"kind": "pause", "payload": {}, "author": 3, "reason": "", "filed": ""}',
     b'{"kind": "adjust", "payload": {"changes": {"lr": NaN}}, "author": "", "reason": "", "filed": ""}',
     rb'{"kind": "pause", "payload": {}, "author": "\ud800", "reason": "", "filed": ""}', rb'{"\ud800": 1}',
     rb'{"kind": "\ud800", "payload": {}, "author": "a", "reason": "", "filed": ""}'],
)  # fmt: skip
def test_a_malformed_file_is_answered_as_refused(run: RunDirectory, journal: Journal, content: bytes) -> None:
    run.requests.mkdir()
    (run.requests / "0-handmade.json").write_bytes(content)
    good = note(run)
    assert [request.id for request in pending(run, journal)] == [good]
    given = read_answer(run, "0-handmade")
    assert given is not None
    assert given.outcome == "refused"
    assert not (run.requests / "0-handmade.json").exists()


def test_a_name_that_is_no_unicode_is_refused_as_well(run: RunDirectory, journal: Journal) -> None:
    request = note(run)
    named = run.requests / "0-handmade-\udcff.json"
    (run.requests / f"{request}.json").rename(named)
    assert pending(run, journal) == []
    given = read_answer(run, named.stem)
    assert given is not None
    assert given.outcome == "refused"


def test_what_is_no_request_file_is_left_alone(run: RunDirectory, journal: Journal) -> None:
    run.requests.mkdir()
    (run.requests / ".half.json.1234.tmp").write_text("{")
    (run.requests / ".hidden.json").write_text("{")
    (run.requests / "folder.json").mkdir()
    assert pending(run, journal) == []
    assert len(list(run.requests.iterdir())) == 3


def test_a_request_in_the_journal_is_answered_and_not_applied_again(run: RunDirectory, journal: Journal) -> None:
    request = note(run)
    journal.append(Draft(kind="note", name="note", step=1, origin="person", author="ada", reason="", request=request))
    assert pending(run, journal) == []
    given = read_answer(run, request)
    assert given is not None
    assert (given.outcome, given.sequence) == ("applied", 1)


def test_a_file_left_over_after_its_answer_is_dropped(run: RunDirectory, journal: Journal) -> None:
    request = note(run)
    content = (run.requests / f"{request}.json").read_bytes()
    answer(run, request, "refused", "no", None)
    (run.requests / f"{request}.json").write_bytes(content)
    assert pending(run, journal) == []
    assert not (run.requests / f"{request}.json").exists()


def test_waiting_ends_with_the_answer_or_with_the_time(run: RunDirectory) -> None:
    request = note(run)
    assert wait_for_answer(run, request, timeout_s=0, poll_s=0.01) is None
    answering = threading.Timer(0.05, answer, (run, request, "applied", "noted", 1))
    answering.start()
    given = wait_for_answer(run, request, timeout_s=30, poll_s=0.01)
    answering.join()
    assert given is not None
    assert given.message == "noted"


def test_kills_apply_no_request_twice_and_lose_none(
    run: RunDirectory, kill_after: Callable[[str, Path, int], list[str]]
) -> None:
    asked = [note(run) for _ in range(12)]
    for lines in (3, 1, 100):
        kill_after(APPLY, run.path, lines)
    with run.lock(), run.open_database() as database:
        journal = Journal(database, run.name, Knobs())
        assert pending(run, journal) == []
        journal.verify()
        assert Counter(entry.request for entry in journal.entries()) == Counter(asked)
        for request in asked:
            given, sequence = read_answer(run, request), journal.sequence_of(request)
            assert given is not None
            assert given.sequence == sequence


def test_what_is_no_request_is_answered_with_the_commands_that_file_one(run: RunDirectory, journal: Journal) -> None:
    run.requests.mkdir()
    (run.requests / "0-handmade.json").write_text("[]")
    pending(run, journal)
    given = read_answer(run, "0-handmade")
    assert given is not None
    assert given.message.endswith("file it with `ethos adjust`, `pause` or `resume`")
