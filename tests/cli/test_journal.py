import sqlite3
from contextlib import closing

from tests.cli.conftest import Ethos

from ethos.store.run_directory import RunDirectory


def test_an_empty_journal_says_so(ethos: Ethos, stopped_run: RunDirectory) -> None:
    assert ethos("journal", "wren").out == "runs/wren: nothing was changed since its launch\n"
    assert ethos("journal", "wren", "--json").out == ""


def test_a_journal_that_was_tampered_with_fails_to_verify(ethos: Ethos, stopped_run: RunDirectory) -> None:
    ethos("adjust", "wren", "lr=5e-5", "--why", "too fast")
    with closing(sqlite3.connect(stopped_run.database_path)) as connection:
        connection.execute("DROP TRIGGER journal_is_never_changed")
        connection.execute("UPDATE journal SET author = 'nobody'")
        connection.commit()
    assert ethos("journal", "wren").code == 0
    ended = ethos("journal", "wren", "--verify")
    assert (ended.code, ended.out) == (1, "")
    assert "journal entry 1 (knob lr) is not as it was written" in ended.err
