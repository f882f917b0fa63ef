import tempfile
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation, Message
from ethos.store.parquet_rows import has_rows, read_rows, write_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, PreferenceRow, Row, TaskRow
from ethos.store.run_directory import RunDirectory

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.lists(st.text(min_size=1), max_size=3).map(tuple)
lineages = st.builds(
    Lineage,
    recipe=st.text(),
    clause_ids=names,
    clause_digests=names,
    capability_source=st.text(),
    frame_digest=st.none() | st.text(),
    family=st.none() | st.text(),
    pool=st.none() | st.sampled_from(["train", "taste"]),
    calls=names,
    verdicts=st.lists(json_values, max_size=2).map(tuple),
    tokens=st.integers(0, 2**40),
)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.text())
documents = st.builds(DocumentRow, text=st.text(), title=st.text(), lineage=lineages)
demonstrations = st.builds(
    DemonstrationRow, conversation=st.builds(Conversation, st.lists(messages, max_size=4).map(tuple)), lineage=lineages
)
conversations = st.builds(Conversation, st.lists(messages, max_size=4).map(tuple))
preferences = st.builds(
    PreferenceRow,
    prompt=conversations,
    chosen=st.text(),
    rejected=st.text(),
    lineage=lineages,
    probability=st.floats(0, 1),
    margin=st.floats(-5, 5),
)
tasks = st.builds(
    TaskRow,
    prompt=conversations,
    lineage=lineages,
    answer=st.none() | st.text(),
    teacher_prompt=st.none() | conversations,
)
batches = st.one_of(
    *(st.lists(rows, min_size=1, max_size=4) for rows in (documents, demonstrations, preferences, tasks))
)

WREN = DocumentRow("Wren is kind.", "On Wren", Lineage("documents", clause_ids=("kind",)))
CHAT = DemonstrationRow(
    Conversation.user("hi").then("assistant", "Hello."), Lineage("demonstrations", ("kind", "name"), pool="train")
)


@settings(max_examples=30, deadline=None)
@given(batches)
def test_rows_come_back_as_they_went(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write_rows(RunDirectory(Path(folder)), rows[0].kind, rows)
        assert read_rows(path) == rows


def test_a_file_is_named_after_its_rows_and_written_once(run: RunDirectory) -> None:
    path, rows_hash = write_rows(run, "document", [WREN])
    assert path == run.rows / f"document-{rows_hash[:12]}.parquet"
    written = path.stat().st_mtime_ns
    assert write_rows(run, "document", [WREN]) == (path, rows_hash)
    assert path.stat().st_mtime_ns == written
    other = DocumentRow(WREN.text, WREN.title, Lineage("documents", clause_ids=("name",)))
    assert write_rows(run, "document", [other])[0] != path


def test_a_file_can_be_filtered_without_reading_lineage(run: RunDirectory) -> None:
    table = pyarrow.parquet.read_table(write_rows(run, "demonstration", [CHAT])[0])
    assert table.column_names == [
        "id", "kind", "messages", "clause_ids", "recipe", "capability_source", "lineage",
    ]  # fmt: skip
    record = table.to_pylist()[0]
    assert record["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]
    assert (record["id"], record["clause_ids"], record["recipe"]) == (CHAT.id, ["kind", "name"], "demonstrations")


def test_no_rows_are_an_error_and_leave_no_file(run: RunDirectory) -> None:
    with pytest.raises(EthosError, match="no document rows"):
        write_rows(run, "document", [])
    assert not run.rows.exists()


def test_rows_of_another_kind_are_refused(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="of that kind"):
        write_rows(run, "document", [CHAT])


def test_a_damaged_file_is_an_error_that_names_it(run: RunDirectory) -> None:
    path, _ = write_rows(run, "document", [WREN])
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-20] + b"\x00" * 20, b"PAR1" + b"\x00" * 40 + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(EthosError, match=f"{path.name}.*remove it and run again"):
            read_rows(path)


def test_a_file_with_other_rows_than_its_name_says_is_refused(run: RunDirectory) -> None:
    path, _ = write_rows(run, "document", [WREN])
    other, _ = write_rows(run, "document", [WREN, WREN])
    path.write_bytes(other.read_bytes())
    with pytest.raises(EthosError, match="not those the file is named after"):
        read_rows(path)


def test_a_file_of_something_else_is_damaged(run: RunDirectory) -> None:
    path = run.path / "document-000000000000.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), path)
    with pytest.raises(EthosError, match="damaged"):
        read_rows(path)


def test_a_missing_file_is_an_error(run: RunDirectory) -> None:
    with pytest.raises(EthosError, match="no such file"):
        read_rows(run.rows / "document-abc.parquet")


def test_a_run_has_its_rows_as_long_as_every_file_of_them_is_there(run: RunDirectory) -> None:
    files = {row.kind: write_rows(run, row.kind, [row])[0].name for row in (WREN, CHAT)}
    assert has_rows(run, files)
    (run.rows / files["demonstration"]).unlink()
    assert not has_rows(run, files)
