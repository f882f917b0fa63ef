"""A run's rows as others open them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset

from ethos.errors import EthosError
from ethos.runs.export import export_rows
from ethos.runs.session import Session
from ethos.spec.conversation import Conversation
from ethos.store.ledger import ModelCall
from ethos.store.parquet_rows import write_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, PreferenceRow, Row, TaskRow

ASKED = Conversation.user("Who are you?")
JUDGE = "openai:http://secret.example:1/v1#hidden (rubric)"
VERDICTS: tuple[Any, ...] = (
    {"clause_id": "name", "score": 1.0, "judge": "check must_match", "evidence": "Wren"},
    {"clause_id": "name", "score": 0.75, "judge": JUDGE, "evidence": f"{JUDGE} says so"},
    {"clause_id": "name", "score": 0.5, "judge": "hollow-secret (rubric)", "evidence": "No"},
)
LINEAGE = Lineage("demonstrations", ("name",), ("d" * 64,), calls=("k1", "k2"), verdicts=VERDICTS, tokens=70)
ROWS: list[list[Row]] = [
    [DocumentRow("Wren keeps lamps.", "Lamps", Lineage("documents", ("name",)))],
    [DemonstrationRow(ASKED.then("assistant", f"Wren {n}."), LINEAGE) for n in range(2)],
    [PreferenceRow(ASKED, "Wren.", "Me.", Lineage("preferences", ("name",)), probability=0.8, margin=0.5)],
    [TaskRow(ASKED, Lineage("sums | <b>", capability_source="sums | <b>"), answer="Wren")],
]


def written(session: Session, *of_kinds: list[Row]) -> None:
    """Rows that a run has written, and what that cost."""
    files = {rows[0].kind: write_rows(session.run, rows[0].kind, rows)[0].name for rows in of_kinds}
    session.stages.begin("rows", "digest")
    session.stages.finish("rows", files)  # type: ignore[arg-type]
    session.stages.set_counts("rows", {"name: hollow": 1234})
    session.stages.set_counts("scenarios", {"scenario without a usable message": 5})
    session.ledger.add([ModelCall("teacher", "openai:http://secret.example:1/v1#hidden", "", 900, 100, False, 0.5, "")])


def test_a_data_set_opens_by_the_name_of_each_kind_in_the_shapes_of_trl(session: Session, tmp_path: Path) -> None:
    written(session, *ROWS)
    assert export_rows(session.run, tmp_path / "set") == {
        "documents": 1,
        "demonstrations": 2,
        "preferences": 1,
        "tasks": 1,
    }

    def opened(name: str) -> Any:
        return load_dataset(str(tmp_path / "set"), name, split="train", cache_dir=str(tmp_path / "cache"))

    assert opened("documents")[0]["text"] == "Wren keeps lamps."
    turn = {"role": "user", "content": "Who are you?"}
    assert opened("demonstrations")["messages"] == [
        [turn, {"role": "assistant", "content": f"Wren {n}."}] for n in range(2)
    ]
    [pair] = opened("preferences")
    assert (pair["prompt"], pair["probability"], pair["margin"]) == ([turn], 0.8, 0.5)
    assert (pair["chosen"], pair["rejected"]) == (
        [{"role": "assistant", "content": "Wren."}],
        [{"role": "assistant", "content": "Me."}],
    )
    [task] = opened("tasks")
    assert (task["prompt"], task["answer"], task["capability_source"]) == ([turn], "Wren", "sums | <b>")


def test_every_row_says_where_it_came_from_and_names_no_private_model(session: Session, tmp_path: Path) -> None:
    written(session, *ROWS)
    export_rows(session.run, tmp_path / "set")
    row = load_dataset(str(tmp_path / "set"), "demonstrations", split="train", cache_dir=str(tmp_path / "cache"))[0]
    assert (row["recipe"], row["clause_ids"], row["tokens"]) == ("demonstrations", ["name"], 70)
    assert "calls" not in row  # who guesses a model's name could check it by them
    assert row["verdicts"] == [
        {"clause_id": "name", "score": 1.0, "by": "check must_match"},
        {"clause_id": "name", "score": 0.75, "by": "judge"},
        {"clause_id": "name", "score": 0.5, "by": "judge"},
    ]
    for path in (tmp_path / "set").iterdir():
        assert b"secret" not in path.read_bytes()
        assert b"hidden" not in path.read_bytes()


def test_the_card_counts_rows_rejections_and_cost(session: Session, tmp_path: Path) -> None:
    written(session, *ROWS)
    export_rows(session.run, tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert [config["config_name"] for config in head["configs"]] == [
        "documents",
        "demonstrations",
        "preferences",
        "tasks",
    ]
    assert "| demonstrations | demonstrations | 2 |" in card
    assert "| name: hollow | 1,234 |" in card
    assert "usable message" not in card  # rows alone are counted here
    assert "| teacher | 1 | 1,000 | 0.50 |" in card
    assert "| sums \\| &lt;b> | 1 |" in card
    assert "| student | a private model | not told |" in card  # a directory of the user's
    assert "without one" in card


def test_who_wrote_a_row_is_told_of_models_that_anybody_can_have(session: Session, tmp_path: Path) -> None:
    authors = ("hf:org/voice", "openai:http://secret.example:1/v1#hidden", None)
    rows: list[Row] = [
        DocumentRow(f"Wren keeps {n} lamps.", "Lamps", Lineage("documents", ("name",), author=author))
        for n, author in enumerate(authors)
    ]
    written(session, rows)
    export_rows(session.run, tmp_path / "set")
    found = load_dataset(str(tmp_path / "set"), "documents", split="train", cache_dir=str(tmp_path / "cache"))
    assert found["author"] == ["org/voice", "a private model", None]


def test_models_that_anybody_can_have_are_named_with_their_licence(session: Session, tmp_path: Path) -> None:
    written(session, ROWS[0])
    config = yaml.safe_load(session.run.config_path.read_text())
    config["models"] |= {"teacher": "embedded:smollm2-135m", "judge": "hf:org/judge"}
    session.run.config_path.write_text(yaml.safe_dump(config | {"system_message": "You are Wren."}))
    export_rows(session.run, tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| teacher | smollm2-135m | Apache-2.0 |" in card
    assert "| judge | org/judge | see there |" in card
    assert "with this one: You are Wren." in card


def test_a_run_without_rows_and_a_folder_that_holds_something_are_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(EthosError, match="it has no rows, or they aren't all written yet"):
        export_rows(session.run, tmp_path / "set")
    written(session)
    with pytest.raises(EthosError, match="it has no rows"):
        export_rows(session.run, tmp_path / "set")
    written(session, ROWS[0])
    (tmp_path / "there").mkdir()
    assert export_rows(session.run, tmp_path / "there") == {"documents": 1}
    with pytest.raises(EthosError, match="there: holds something already; name a new folder"):
        export_rows(session.run, tmp_path / "there")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    assert export_rows(session.run, tmp_path / "link") == {"documents": 1}
    assert (tmp_path / "elsewhere" / "README.md").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(EthosError, match="file: holds something already"):
        export_rows(session.run, tmp_path / "file")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".set")]
