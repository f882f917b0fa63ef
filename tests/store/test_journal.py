import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.spec.types import Json
from ethos.store.config.knobs import Knobs
from ethos.store.database import Database
from ethos.store.journal import Draft, Journal
from ethos.store.run_directory import RunDirectory

APPEND = """
import sys
from pathlib import Path
from ethos.store.config.knobs import Knobs
from ethos.store.journal import Draft, Journal
from ethos.store.run_directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
with run.lock(), run.open_database() as database:
    journal = Journal(database, run.name, Knobs())
    while True:
        notes = [Draft(kind="note", name=n, step=1, origin="rule", author="me", reason="r" * 5000) for n in "ab"]
        print(journal.append_all(notes)[-1].sequence)
"""


def knob(name: str, new: Json, step: int, branch: str = "main", request: str | None = None) -> Draft:
    return Draft(
        kind="knob",
        name=name,
        step=step,
        origin="person",
        author="ada",
        reason="because",
        branch=branch,
        new=new,
        request=request,
    )


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database, "wren", Knobs())


def test_what_was_appended_is_read_back_whole(journal: Journal) -> None:
    draft = replace(
        knob("lr", 2e-4, 3), old=1e-4, parent_checkpoint="step-000040", rule="plateau", rule_version="2",
        evidence={"adherence": [0.5, None, "文"]}, origin="rule", request="r1",
    )  # fmt: skip
    entry = journal.append(draft)
    assert journal.entries() == [entry]
    assert (entry.sequence, entry.run, entry.branch, entry.step) == (1, "wren", "main", 3)
    assert (entry.old, entry.new, entry.evidence) == (1e-4, 2e-4, {"adherence": [0.5, None, "文"]})


def test_each_entry_carries_the_hash_of_the_one_before(journal: Journal) -> None:
    first, second = journal.append(knob("lr", 1e-3, 1)), journal.append(knob("lr", 2e-3, 2))
    assert second.previous_hash == first.hash != second.hash
    journal.verify()


def test_entries_are_read_by_branch_and_from_a_point_on(journal: Journal) -> None:
    journal.append(knob("lr", 1e-3, 1))
    journal.fork("b", "main", 1)
    journal.append(knob("lr", 2e-3, 2, "b"))
    journal.append(knob("lr", 3e-3, 2))
    assert [entry.sequence for entry in journal.entries()] == [1, 2, 3]
    assert [entry.sequence for entry in journal.entries(branch="main")] == [1, 3]
    assert [entry.sequence for entry in journal.entries(since=1)] == [2, 3]


def test_knobs_at_a_step_are_the_launch_values_and_the_changes_up_to_it(journal: Journal) -> None:
    journal.append(knob("lr", 1e-3, 10))
    journal.append(knob("mixture.documents", 0.5, 20))
    journal.append(knob("lr", 2e-3, 20))
    assert journal.knobs("main", 9) == Knobs()
    assert journal.knobs("main", 10).lr == 1e-3
    assert journal.knobs("main", 19).mixture.documents == 1.0
    assert (journal.knobs("main", 20).lr, journal.knobs("main", 20).mixture.documents) == (2e-3, 0.5)
    assert journal.knobs("main", 20).mixture.demonstrations == 1.0


def test_notes_and_controls_change_no_knob(journal: Journal) -> None:
    journal.append(replace(knob("lr", 1e-3, 1), kind="note"))
    journal.append(replace(knob("lr", 1e-3, 1), kind="control"))
    assert journal.knobs("main", 5) == Knobs()


def test_a_branch_inherits_its_parent_up_to_the_fork(journal: Journal) -> None:
    journal.append(knob("lr", 1e-3, 10))
    journal.append(knob("lr", 5e-3, 45))
    journal.fork("second", "main", 40)
    journal.append(knob("batch_rows", 16, 41, "second"))
    journal.fork("third", "second", 50)
    journal.append(knob("clip", 2.0, 51, "third"))
    third = journal.knobs("third", 60)
    assert (third.lr, third.batch_rows, third.clip) == (1e-3, 16, 2.0)
    assert journal.knobs("third", 20) == journal.knobs("main", 20)
    assert journal.knobs("second", 60).clip == 1.0
    assert (journal.knobs("main", 60).lr, journal.knobs("main", 60).batch_rows) == (5e-3, 8)


def test_a_branch_overrides_its_parent(journal: Journal) -> None:
    journal.append(knob("lr", 1e-3, 5))
    journal.fork("second", "main", 40)
    journal.append(knob("lr", 2e-3, 41, "second"))
    journal.fork("third", "second", 41)
    journal.append(knob("lr", 3e-3, 42, "third"))
    assert (journal.knobs("second", 42).lr, journal.knobs("third", 42).lr) == (2e-3, 3e-3)


def test_what_a_parent_does_after_the_fork_changes_no_branch(journal: Journal) -> None:
    journal.append(knob("lr", 1e-3, 10))
    journal.fork("second", "main", 40)
    journal.append(knob("lr", 9e-3, 30))  # the parent went back to an older checkpoint
    assert journal.knobs("second", 50).lr == 1e-3
    assert journal.knobs("main", 50).lr == 9e-3


def test_an_unknown_or_a_second_branch_of_a_name_is_refused(journal: Journal) -> None:
    with pytest.raises(EthosError, match="no branch named nowhere"):
        journal.knobs("nowhere", 1)
    with pytest.raises(EthosError, match="no branch named nowhere"):
        journal.fork("b", "nowhere", 1)
    with pytest.raises(EthosError, match="exists already"):
        journal.fork("main", "main", 1)


def test_a_knob_that_the_fold_would_choke_on_never_enters(journal: Journal) -> None:
    for name, value in (("lr", 3.0), ("nonsense", 1.0), ("lr", None)):
        with pytest.raises(EthosError):
            journal.append_all([knob("clip", 2.0, 1), knob(name, value, 1)])
    assert journal.entries() == []


def test_a_request_enters_once_whole(journal: Journal) -> None:
    both = [knob("lr", 1e-3, 1, request="r1"), knob("clip", 2.0, 1, request="r1")]
    journal.append_all(both)
    with pytest.raises(EthosError, match="request r1 is in the journal already"):
        journal.append(replace(both[0], step=7))
    assert [entry.request for entry in journal.entries()] == ["r1", "r1"]
    assert journal.sequence_of("r1") == 1
    assert journal.sequence_of("r2") is None


def test_the_database_itself_refuses_to_rewrite_the_journal(journal: Journal, database: Database) -> None:
    journal.append(knob("lr", 1e-3, 1))
    for sql in ("UPDATE journal SET author = 'eve'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), database.transaction(durable=True) as c:
            c.execute(sql)
    journal.verify()


@pytest.mark.parametrize(
    ("sql", "first_broken"),
    [
        ("UPDATE journal SET author = 'eve' WHERE sequence = 2", 2),
        ("UPDATE journal SET new = '0.009' WHERE sequence = 3", 3),
        ("UPDATE journal SET step = 1, previous_hash = hash WHERE sequence = 1", 1),
        ("DELETE FROM journal WHERE sequence = 2", 2),
        ("DELETE FROM journal WHERE sequence = 1", 1),
        ("UPDATE journal SET sequence = sequence + 10", 1),
    ],
)
def test_tampering_is_found_at_the_first_broken_entry(
    journal: Journal, database: Database, sql: str, first_broken: int
) -> None:
    for step in (1, 2, 3, 4):
        journal.append(knob("lr", step / 1000, step))
    with database.transaction(durable=True) as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("DROP TRIGGER journal_is_never_shortened")
        connection.execute(sql)
    with pytest.raises(EthosError, match=f"journal entry {first_broken} "):
        journal.verify()


def test_an_entry_forged_with_a_hash_of_its_own_breaks_the_next(journal: Journal, database: Database) -> None:
    forged = [journal.append(knob("lr", step / 1000, step)) for step in (1, 2, 3)][1]
    forged = replace(forged, author="eve")
    with database.transaction(durable=True) as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("UPDATE journal SET author = 'eve', hash = ? WHERE sequence = 2", (forged.content_hash(),))
    with pytest.raises(EthosError, match="journal entry 3 "):
        journal.verify()


def test_a_kill_while_appending_loses_no_entry_and_halves_none(
    run: RunDirectory, kill_after: Callable[[str, Path, int], list[str]]
) -> None:
    acknowledged = int(kill_after(APPEND, run.path, 5)[-1])
    with run.read_database() as database:
        entries = Journal(database, run.name, Knobs()).entries()
        assert len(entries) >= acknowledged
        assert len(entries) % 2 == 0  # pairs were appended together
        Journal(database, run.name, Knobs()).verify()
    acknowledged = int(kill_after(APPEND, run.path, 5)[-1])
    assert acknowledged > len(entries)
    with run.lock(), run.open_database() as database:
        journal = Journal(database, run.name, Knobs())
        journal.append(knob("lr", 1e-3, 1))
        journal.verify()


def test_a_step_was_taken_by_the_branch_or_by_whom_it_was_forked_from(journal: Journal) -> None:
    journal.fork("second", "main", 40)
    journal.fork("third", "second", 50)
    steps = {1: "main", 40: "main", 41: "second", 50: "second", 51: "third"}
    assert {step: journal.origin("third", step) for step in steps} == steps
    assert journal.origin("main", 99) == "main"
