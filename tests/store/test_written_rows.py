from __future__ import annotations

import json
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_spec
from ethos.spec.types import Spec
from ethos.store.rows import DemonstrationRow, DocumentRow, PreferenceRow, TaskRow
from ethos.store.written_rows import load_written_rows


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    path = tmp_path / "spec.md"
    path.write_text("# Tiny\n\n## Short {#short}\n\nTiny is brief.\n")
    return parse_spec(path)


def written(folder: Path, *lines: object) -> Path:
    path = folder / "own.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_each_kind_of_row_is_read_with_its_source(tmp_path: Path, spec: Spec) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = written(
        tmp_path,
        {"kind": "document", "text": "Tiny is small.", "title": "Tiny"},
        {"kind": "demonstration", "messages": turns, "clauses": ["short"]},
        "",
        {
            "kind": "preference",
            "prompt": "Hi",
            "chosen": "Hey",
            "rejected": "Good day",
            "probability": 0.75,
            "margin": 1,
        },
        {"kind": "task", "prompt": turns[:1], "answer": "4"},
        {"kind": "task", "prompt": "Hi"},
    )
    document, demonstration, preference, task, open_task = load_written_rows([path], spec)
    assert isinstance(document, DocumentRow)
    assert (document.text, document.title, document.lineage.capability_source) == (
        "Tiny is small.",
        "Tiny",
        "rows of own.jsonl",
    )
    assert isinstance(demonstration, DemonstrationRow)
    assert demonstration.conversation == Conversation.from_dicts(turns)
    assert demonstration.lineage.clause_ids == ("short",)
    assert demonstration.lineage.clause_digests == (spec.clauses[0].digest,)
    assert demonstration.lineage.capability_source is None
    assert isinstance(preference, PreferenceRow)
    assert (preference.chosen, preference.probability, preference.margin) == ("Hey", 0.75, 1.0)
    assert isinstance(task, TaskRow)
    assert (task.prompt, task.answer) == (Conversation.user("Hi"), "4")
    assert isinstance(open_task, TaskRow)
    assert open_task.answer is None


def test_a_row_that_stands_twice_is_one(tmp_path: Path, spec: Spec) -> None:
    path = written(tmp_path, *[{"kind": "task", "prompt": "Hi"}] * 2)
    assert len(load_written_rows([path, path], spec)) == 1


PAIR = '{"kind": "preference", "prompt": "a", "chosen": "b", "rejected": "c", %s}'
UNKNOWN = r"own\.jsonl:2: there is no clause 'long' in spec\.md; use one of short"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"own\.jsonl:2: not valid JSON"),
        ({"kind": "chat"}, r"own\.jsonl:2: .*kind"),
        ({"text": "x"}, r"own\.jsonl:2: .*kind"),
        ({"kind": "task"}, r"own\.jsonl:2: task\.prompt: Field required"),
        ({"kind": "document", "text": ""}, r"own\.jsonl:2: document\.text: .*at least 1"),
        ({"kind": "task", "prompt": "Hi", "reward": 1}, r"own\.jsonl:2: task\.reward: Extra inputs"),
        (PAIR % '"probability": 1.5', r"less than or equal to 1"),
        (PAIR % '"margin": NaN', r"margin: .*finite"),
        ({"kind": "demonstration", "messages": [{"role": "poet", "content": "x"}]}, r"messages\.0\.role"),
        ({"kind": "task", "prompt": [{"role": "human", "content": "Hi"}]}, r"task\.prompt\.0\.role: Input should be"),
        ({"kind": "task", "prompt": []}, r"task\.prompt: .*at least 1 item"),
        ({"kind": "task", "prompt": 7}, r"task\.prompt: Input should be a valid tuple"),
        ({"kind": "task", "prompt": "Hi", "answer": " "}, r"task\.answer: "),
        ({"kind": "task", "prompt": "Hi", "clauses": ["long"]}, UNKNOWN),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, spec: Spec, line: object, message: str) -> None:
    path = written(tmp_path, {"kind": "task", "prompt": "Hi"}, line)
    with pytest.raises(EthosError, match=message):
        load_written_rows([path], spec)


def test_a_file_that_holds_nothing_or_is_not_there_is_told(tmp_path: Path, spec: Spec) -> None:
    with pytest.raises(EthosError, match="holds no row"):
        load_written_rows([written(tmp_path, "")], spec)
    with pytest.raises(EthosError, match="can't be read as text"):
        load_written_rows([tmp_path / "none.jsonl"], spec)
