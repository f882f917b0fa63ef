import pytest

from ethos.errors import EthosError
from ethos.store.parquet_rows import write_rows
from ethos.store.rows import DocumentRow, Lineage
from ethos.store.run_directory import RunDirectory
from ethos.store.trace import find_row

ROWS = [DocumentRow(f"Text {i}.", "", Lineage("documents", clause_ids=("kind",))) for i in range(40)]


def test_a_row_is_found_by_the_start_of_its_id(run: RunDirectory) -> None:
    write_rows(run, "document", ROWS[:20])
    write_rows(run, "document", ROWS[20:])
    for row in (ROWS[3], ROWS[33]):
        assert find_row(run, row.id[:10]) == row
        assert find_row(run, row.id) == row


def test_a_row_that_stands_in_two_files_is_one_row(run: RunDirectory) -> None:
    write_rows(run, "document", ROWS[:2])
    write_rows(run, "document", ROWS[:3])
    assert find_row(run, ROWS[0].id) == ROWS[0]


def test_an_unknown_or_ambiguous_id_is_an_error(run: RunDirectory) -> None:
    with pytest.raises(EthosError, match="no row's id starts with 'abc'"):
        find_row(run, "abc")
    write_rows(run, "document", ROWS)
    with pytest.raises(EthosError, match=r"40 rows start with ''.*give more of the id"):
        find_row(run, "")
