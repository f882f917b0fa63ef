from pathlib import Path

import pytest
from tests.cli.conftest import Ethos

from ethos.spec.conversation import Conversation
from ethos.store.cache import Response, ResponseCache
from ethos.store.parquet_rows import write_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage
from ethos.store.run_directory import RunDirectory

DEMONSTRATION = DemonstrationRow(
    Conversation.user("How hot is it?").then("assistant", "It is 20 °C.\x1b[2J"),
    Lineage(
        recipe="demonstrations",
        clause_ids=("units", "brevity"),
        clause_digests=("d1" * 32,),
        family="weather/chat",
        pool="train",
        calls=("key-1", "key-2"),
        verdicts=({"check": "max_words", "passed": True},),
        tokens=321,
    ),
)
DOCUMENT = DocumentRow("Wren measures in metres.", "An interview", Lineage("documents", capability_source="own data"))


@pytest.fixture(autouse=True)
def rows(stopped_run: RunDirectory) -> None:
    write_rows(stopped_run, "demonstration", [DEMONSTRATION])
    write_rows(stopped_run, "document", [DOCUMENT])


@pytest.mark.parametrize("where", [[], ["--run", "wren"]])
def test_trace_prints_the_chain_of_a_row(ethos: Ethos, where: list[str]) -> None:
    ended = ethos("trace", DEMONSTRATION.id[:6], *where)
    assert ended.code == 0, ended.err
    for part in (
        f"{DEMONSTRATION.id} (demonstration)",
        "demonstrations",
        "units (digest d1d1d1d1d1d1)",
        "brevity",
        "weather/chat",
        "key-1",
        "key-2",
        '{"check": "max_words", "passed": true}',
        "321",
        "user\n    How hot is it?\nassistant\n    It is 20 °C.[2J",
    ):
        assert part in ended.out


def test_trace_names_the_source_of_a_row_without_a_clause(ethos: Ethos) -> None:
    shown = ethos("trace", DOCUMENT.id).out
    assert "own data" in shown
    assert "clause" not in shown
    assert shown.endswith("An interview\n    Wren measures in metres.\n")


def test_a_row_that_is_in_no_run_is_one_sentence(ethos: Ethos) -> None:
    ended = ethos("trace", "zzzz")
    assert ended.code == 1
    assert "none of the 1 runs in runs/ has a row whose id starts with 'zzzz'" in ended.err


def test_a_start_that_fits_two_rows_is_refused(ethos: Ethos) -> None:
    ended = ethos("trace", "", "--run", "wren")
    assert ended.code == 1
    assert "2 rows start with ''" in ended.err


def test_a_row_of_several_runs_is_shown_once_with_all_of_them(ethos: Ethos, folder: Path) -> None:
    other = RunDirectory.create(folder / "runs" / "tern", "name: tern\n")
    write_rows(other, "demonstration", [DEMONSTRATION])
    ended = ethos("trace", DEMONSTRATION.id)
    assert ended.code == 0, ended.err
    assert "runs/tern, runs/wren" in ended.out
    assert ended.out.count("How hot is it?") == 1
    assert "runs/tern" not in ethos("trace", DEMONSTRATION.id, "--run", "wren").out


def test_a_start_that_fits_rows_of_two_runs_is_refused_with_their_ids(ethos: Ethos, folder: Path) -> None:
    other = RunDirectory.create(folder / "runs" / "tern", "name: tern\n")
    row = DocumentRow("Tern measures in feet.", "", DOCUMENT.lineage)
    write_rows(other, "document", [row])
    ended = ethos("trace", "")
    assert ended.code == 1
    ids = ", ".join(sorted([row.id, DOCUMENT.id, DEMONSTRATION.id]))
    assert f"runs/: 3 rows start with '' ({ids}); give more of the id" in ended.err


def test_a_damaged_file_of_rows_is_told_of(ethos: Ethos, stopped_run: RunDirectory) -> None:
    damaged = stopped_run.rows / "document-000000000000.parquet"
    damaged.write_bytes(b"PAR1")
    ended = ethos("trace", DOCUMENT.id)
    assert ended.code == 1
    assert f"{damaged.name}: the file of rows is damaged" in ended.err


def test_the_calls_of_a_row_are_shown_with_what_they_asked_and_answered(
    ethos: Ethos, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(folder / "cache"))
    meta = {"model": "m", "role": "teacher", "params": {"seed": 3}, "draw": 1}
    asked = Conversation.user("How hot, in degrees?").to_dicts()
    cache = ResponseCache(folder / "cache")
    cache.put_many([Response("key-2", '{"text": "It is 20 °C."}', {**meta, "prompt": asked})])
    cache.close()
    assert "How hot, in degrees?" not in ethos("trace", DEMONSTRATION.id).out
    shown = ethos("trace", DEMONSTRATION.id, "--calls").out
    assert "call key-1\nnot in the cache" in shown
    call = shown.partition("call key-2\n")[2]
    assert "m (teacher)" in call
    assert '{"seed": 3}' in call
    assert "user\n    How hot, in degrees?\nanswer\n    It is 20 °C.\n" in call


def test_without_a_cache_calls_are_named_alone(ethos: Ethos, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(folder / "cache"))
    ended = ethos("trace", DEMONSTRATION.id, "--calls")
    assert ended.code == 0, ended.err
    assert ended.out.count("not in the cache") == 2
    assert not (folder / "cache").exists()
