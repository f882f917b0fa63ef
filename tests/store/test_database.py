import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.store.database import CACHE_SCHEMA, RUN_SCHEMA, Database
from ethos.store.run_directory import RunDirectory


def put(database: Database, key: str, *, durable: bool = False) -> None:
    with database.transaction(durable=durable) as connection:
        connection.execute("INSERT INTO responses VALUES (?, '{}', '', '')", (key,))


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Database.open(path, RUN_SCHEMA).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(EthosError, match=r"newer Ethos \(schema 99.*upgrade"):
        Database.open(path, RUN_SCHEMA)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    sqlite3.connect(path).execute("CREATE TABLE mine (x)")
    with pytest.raises(EthosError, match="not a database of this Ethos"):
        Database.open(path, RUN_SCHEMA)


def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(b"not SQLite at all" * 100)
    with pytest.raises(EthosError, match="no SQLite database"):
        Database.open(path, RUN_SCHEMA)


def test_reading_a_database_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match="start the run first"):
        Database.open(tmp_path / "run.db", RUN_SCHEMA, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_can_not_write(tmp_path: Path) -> None:
    Database.open(tmp_path / "r.db", CACHE_SCHEMA).close()
    with (
        Database.open(tmp_path / "r.db", CACHE_SCHEMA, read_only=True) as database,
        pytest.raises(EthosError, match="writable"),
    ):
        put(database, "a")


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database:
        put(database, "taken")
        with pytest.raises(sqlite3.IntegrityError), database.transaction(durable=False) as connection:
            connection.executemany("INSERT INTO responses VALUES (?, '{}', '', '')", [("a",), ("taken",)])
        put(database, "b")
        assert [row["key"] for row in database.query("SELECT key FROM responses ORDER BY rowid")] == ["taken", "b"]


def test_a_full_disk_is_a_sentence_and_what_was_committed_is_kept(tmp_path: Path) -> None:
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database:
        put(database, "a")
        [pages] = database.query("PRAGMA page_count")[0]
        database.query(f"PRAGMA max_page_count = {pages}")  # as full as a disk can be made without being root
        with pytest.raises(EthosError, match=r"r\.db: database or disk is full; free some space and run again"):
            put(database, "b" * 100_000)
        assert [row["key"] for row in database.query("SELECT key FROM responses")] == ["a"]


def test_a_mistake_in_sql_is_no_error_of_the_user(tmp_path: Path) -> None:
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database, pytest.raises(sqlite3.OperationalError):
        database.query("SELECT nothing FROM nowhere")


def test_durable_commits_reach_the_disk_and_others_need_not(tmp_path: Path) -> None:
    full, normal = 2, 1
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database:
        for durable, level in ((True, full), (False, normal), (True, full)):
            with database.transaction(durable=durable) as connection:
                assert connection.execute("PRAGMA synchronous").fetchone()[0] == level
        assert database.query("PRAGMA journal_mode")[0][0] == "wal"
        assert database.query("PRAGMA foreign_keys")[0][0] == 1


def test_threads_share_one_database(tmp_path: Path) -> None:
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database:

        def work(name: str) -> None:
            for index in range(50):
                put(database, f"{name}{index}")

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert database.query("SELECT count(*) FROM responses")[0][0] == 200


def test_another_process_reads_while_the_run_writes(run: RunDirectory, database: Database) -> None:
    reader = (
        "import sys; from pathlib import Path; from ethos.store.run_directory import RunDirectory\n"
        "with RunDirectory.find(Path(sys.argv[1])).read_database() as d:\n"
        "    print(d.query('SELECT count(*) FROM metrics')[0][0])"
    )
    with database.transaction(durable=False) as connection:
        connection.execute("INSERT INTO metrics VALUES ('main', 1, 'loss', 2.5)")
    with database.transaction(durable=False) as connection:
        connection.execute("INSERT INTO metrics VALUES ('main', 2, 'loss', 2.4)")
        seen = subprocess.run([sys.executable, "-c", reader, str(run.path)], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "1"  # what was committed, and not what is half-way


def test_threads_that_make_a_database_at_once_make_one(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def work(name: str) -> None:
        start.wait()
        with Database.open(tmp_path / "r.db", CACHE_SCHEMA) as database:
            put(database, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Database.open(tmp_path / "r.db", CACHE_SCHEMA, read_only=True) as database:
        assert database.query("SELECT count(*) FROM responses")[0][0] == 8
    assert not list(tmp_path.glob(".new-*"))
