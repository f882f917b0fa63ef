"""The whole job on a tiny random student, its teacher a function of the prompt behind a real endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.responses import Response

from endpoint_server import Asked, EndpointServer, Fault, fails, says
from ethos.errors import EthosError
from ethos.progress import QuietProgress
from ethos.runs.launch import RunOutcome, run
from ethos.store.ledger import Ledger, Totals
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages
from template_teacher import FUNCTION, WREN, TemplateTeacher

FILTERED = ("umbrella", "turtle", "valley", "a short story in which")
"""What the endpoint's content filter turns down: some messages, and one form of document."""


TRANSLATION = {"functions": ["functions.py"], "draws": 1, "inputs": 40}


@dataclass(frozen=True)
class Job:
    """A run that is through, and its teacher's server, which is still there."""

    folder: Path
    server: EndpointServer
    report: dict[str, Any]

    def again(self) -> tuple[RunOutcome, QuietProgress]:
        """The same command once more."""
        ui = QuietProgress()
        return run(self.folder / "config.yaml", self.folder / "runs", ui), ui


def config(address: str) -> dict[str, Any]:
    teacher = f"openai:{address}/v1#template"
    return {
        "name": "wren",
        "spec": "spec.md",
        "models": {"student": "tiny", "teacher": teacher, "judge": teacher, "threads": 1},
        "scenarios": {
            "train_per_clause": 6,
            "taste_per_clause": 6,
            "sealed_per_checked_clause": 6,
            "contrast_per_clause": 1,
        },
        "synthesis": {
            "documents": {"count": 4, "max_tokens": 128},
            "demonstrations": {"draws": 2, "max_tokens": 32, "replay_rows": 0},
        },
        "training": {"steps": 2, "checkpoint_every": 2, "context_tokens": 512, "micro_batch_tokens": 512},
        "tasting": {"max_tokens": 8, "questions": 20},
        "knobs": {"batch_rows": 2, "taste_every": 2, "taste_prompts": 1},
    }


def write_folder(folder: Path, tiny: Path, settings: dict[str, Any]) -> None:
    """Config and spec in `folder`, beside a tiny student that takes long prompts."""
    (folder / "tiny").mkdir()
    for path in tiny.iterdir():
        (folder / "tiny" / path.name).write_bytes(path.read_bytes())
    shape = json.loads((tiny / "config.json").read_text())
    (folder / "tiny" / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": 4096}))
    (folder / "spec.md").write_text(WREN)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch, EndpointServer(TemplateTeacher()) as server:
        server.filtered = FILTERED
        patch.setenv("ETHOS_CACHE", str(folder / "cache"))
        settings = config(server.address)
        settings["synthesis"] |= {"code_translation": TRANSLATION, "preferences": {"per_clause": 1, "max_tokens": 16}}
        settings["synthesis"]["revisions"] = {"per_clause": 1, "reviser": "teacher", "max_tokens": 16}
        write_folder(folder, tiny, settings)
        (folder / "functions.py").write_text(FUNCTION)
        outcome = run(folder / "config.yaml", folder / "runs", QuietProgress())
        yield Job(folder, server, json.loads(outcome.json.read_text(encoding="utf-8")))


def test_what_the_endpoint_refuses_is_counted_noted_and_left_out(job: Job) -> None:
    rejected = job.report["rejected"]
    assert rejected["document: refused by the endpoint"] == 1
    scenarios = rejected["scenario without a passing draw"]
    assert rejected["refused by the endpoint"] == 2 * scenarios > 0  # both draws of each, and no third
    assert rejected["scenario without a usable message"] > 0
    assert job.report["rows"]["demonstration"] > 0
    [noted] = [failure for failure in job.report["failures"] if "refuses the request" in failure]
    assert noted.startswith("a request to the teacher is left out: openai:")
    assert "400: the prompt was filtered" in noted


def test_a_function_is_translated_in_the_run(job: Job) -> None:
    assert job.report["sources"]["Python functions translated to PHP, proven by running both"] == 1


def test_a_student_of_which_no_reply_passes_gives_no_pair_and_no_revision_and_that_is_said(job: Job) -> None:
    of_pairs = {cause: count for cause, count in job.report["rejected"].items() if cause.startswith("preferences")}
    assert of_pairs == {
        "preferences, draws: no reply that passes, or none to hold it against": 4,
        "preferences, framed: no reply that passes, or none to hold it against": 4,
    }
    assert "preference" not in job.report["rows"]
    warned = [warning.split(":")[0] for warning in job.report["warnings"] if "not one row was kept" in warning]
    assert warned == ["revisions", "preferences"]


def test_models_that_draw_together_are_told_apart_in_rows_ledger_and_report(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    with EndpointServer(TemplateTeacher()) as server, EndpointServer(TemplateTeacher()) as other:
        settings = config(server.address)
        voices = [f"openai:{each.address}/v1#voice" for each in (server, other)]
        gone = "openai:http://127.0.0.1:9/v1#gone"
        settings["models"]["chorus"] = [{"name": name} for name in (*voices, gone)]
        settings["models"]["endpoints"] = [{"name": gone, "attempts": 1}]
        write_folder(tmp_path, tiny, settings)
        outcome = run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())
        asked = [asked.body["model"] for each in (server, other) for asked in each.requests]
    report = json.loads(outcome.json.read_text(encoding="utf-8"))
    assert {found["model"] for found in report["chorus"]} == set(voices)
    assert sum(found["rows"] for found in report["chorus"]) == report["rows"]["demonstration"] + 4  # and documents
    assert all(found["calls"] > 0 and found["rows"] > 0 and found["tokens"] > 0 for found in report["chorus"])
    [noted] = [failure for failure in report["failures"] if "is set aside" in failure]
    assert noted.startswith(f"{gone} is set aside, and ")
    assert asked.count("voice") == sum(found["calls"] for found in report["chorus"])
    assert "Voice of the chorus" in outcome.html.read_text(encoding="utf-8")


def test_functions_that_changed_after_the_launch_are_refused(job: Job) -> None:
    path = job.folder / "functions.py"
    path.write_text(FUNCTION.replace("7", "8"))
    try:
        with pytest.raises(EthosError, match="the set of functions to translate changed after this run was launched"):
            job.again()
    finally:
        path.write_text(FUNCTION)
    path.rename(job.folder / "moved.py")
    try:
        text = (job.folder / "config.yaml").read_text()
        (job.folder / "config.yaml").write_text(text.replace("functions.py", "moved.py"))
        assert job.again()[0].report == job.report  # where they lie doesn't matter
    finally:
        (job.folder / "moved.py").rename(path)
        (job.folder / "config.yaml").write_text(text)


def test_without_a_sandbox_functions_are_refused_before_the_teacher_is_asked(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with EndpointServer(TemplateTeacher()) as server:
        settings = config(server.address)
        settings["synthesis"]["code_translation"] = TRANSLATION
        write_folder(tmp_path, tiny, settings)
        (tmp_path / "functions.py").write_text(FUNCTION)
        with pytest.raises(EthosError, match="install bubblewrap"):
            run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())
        assert server.requests == []


def test_a_damaged_report_is_written_anew_from_what_the_run_knows(job: Job) -> None:
    asked = len(job.server.requests)
    written = job.folder / "runs" / "wren" / "report.json"
    written.write_text('{"clauses": [')
    outcome, ui = job.again()
    assert any(f"{written}: the file is damaged" in warning for warning in ui.warnings)
    assert json.loads(written.read_text(encoding="utf-8"))["clauses"] == job.report["clauses"]
    assert outcome.report["clauses"]
    assert len(job.server.requests) == asked


def test_a_run_that_is_through_is_read_back_without_its_models(job: Job) -> None:
    student, elsewhere = job.folder / "tiny", job.folder / "elsewhere"
    student.rename(elsewhere)
    try:
        outcome, _ = job.again()
        assert outcome.report == json.loads(outcome.json.read_text(encoding="utf-8"))
        page, text = outcome.json, outcome.json.read_text(encoding="utf-8")
        page.write_text("{")
        with pytest.raises(EthosError, match="tiny: not a model's name"):
            job.again()
        page.write_text(text)
        assert job.again()[0].report == outcome.report
    finally:
        elsewhere.rename(student)


def test_a_wrong_name_of_a_model_is_told_before_a_folder_is_made(job: Job, tmp_path: Path) -> None:
    (tmp_path / "spec.md").write_text(WREN)
    settings = config(job.server.address)
    settings["models"]["student"] = "nobody"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(EthosError, match="nobody: not a model's name"):
        run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())
    assert not (tmp_path / "runs").exists()


def test_a_disk_that_is_too_full_for_the_status_hides_no_error(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    def full(*_: object, **__: object) -> None:
        raise EthosError("database or disk is full")

    (tmp_path / "spec.md").write_text(WREN)
    settings = config(job.server.address)
    settings["models"]["student"] = str(job.folder / "tiny")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr("ethos.runs.launch._Job.run", broken)
    monkeypatch.setattr("ethos.runs.session.Session.report_status", full)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())


def test_a_page_that_is_gone_is_rendered_from_the_report_and_nothing_is_done_again(job: Job) -> None:
    asked, written = len(job.server.requests), job.folder / "runs" / "wren"
    page, data = (written / "report.html").read_text(), (written / "report.json").read_bytes()
    (written / "report.html").unlink()
    outcome, _ = job.again()
    assert outcome.html.read_text() == page
    assert outcome.json.read_bytes() == data
    assert len(job.server.requests) == asked


def test_rows_of_ones_own_that_cannot_be_used_are_told_before_the_teacher_is_asked(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    pair = {"kind": "preference", "prompt": "Who are you?", "chosen": "I am Wren. " * 200, "rejected": "Nobody."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    with EndpointServer(TemplateTeacher()) as server:
        settings = config(server.address)
        settings["knobs"]["mixture"] = {"preferences": 1.0}
        settings["rows"] = ["pairs.jsonl"]
        write_folder(tmp_path, tiny, settings)
        with pytest.raises(
            EthosError,
            match=r"^mixture\.preferences is 1, but there is no row for it \(preferences: longer than the context",
        ):
            run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())
        assert server.requests == []


def test_rows_that_may_be_longer_than_the_student_holds_are_told_before_the_teacher_is_asked(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    with EndpointServer(TemplateTeacher()) as server:
        settings = config(server.address)
        settings["training"]["context_tokens"] = 100_000
        write_folder(tmp_path, tiny, settings)
        with pytest.raises(
            EthosError, match=r"^training\.context_tokens is 100000, but .* holds \d+ tokens; lower it$"
        ):
            run(tmp_path / "config.yaml", tmp_path / "runs", QuietProgress())
        assert server.requests == []


@dataclass(frozen=True)
class Sitting:
    """What a sitting that ended early was asked to keep: requests at the server, answers in the cache, calls paid."""

    requests: int
    answers: int
    calls: int
    lines: list[str]
    status: str


def sit(folder: Path, tiny: Path, faults: list[Fault], error: type[BaseException], concurrency: int = 8) -> Sitting:
    """The first sitting of a run whose first requests meet these faults."""
    ui = QuietProgress()
    with pytest.MonkeyPatch.context() as patch, EndpointServer(TemplateTeacher()) as server:
        patch.setenv("ETHOS_CACHE", str(folder / "cache"))
        settings = config(server.address)
        endpoint = {"name": settings["models"]["teacher"], "concurrency": concurrency}
        write_folder(folder, tiny, settings | {"models": settings["models"] | {"endpoints": [endpoint]}})
        server.faults.extend(faults)
        server.pause_s = 0.1  # so that several are under way at any time
        with pytest.raises(error):
            run(folder / "config.yaml", folder / "runs", ui)
        requests = len(server.requests)
    teachers = "SELECT count(*) FROM responses WHERE json_extract(meta, '$.role') = 'teacher'"
    with closing(sqlite3.connect(folder / "cache" / "responses.db")) as cache:
        [answers] = cache.execute(teachers).fetchone()
    with RunDirectory(folder / "runs" / "wren").read_database() as database:
        calls, status = Ledger(database).totals().get("teacher", Totals()).calls, Stages(database).status()
    assert status is not None
    return Sitting(requests, answers, calls, ui.lines, status.state)


ANSWER = says(
    {
        "choices": [{"message": {"content": "1. a kettle\n2. a lantern"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 8},
    }
)


@pytest.fixture
def listens_to_ctrl_c() -> Iterator[None]:
    """A process that was started in the background may have been told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupts(times: int) -> Fault:
    """Ctrl-C while the request is under way; it is answered all the same, unless nobody listens any more."""

    async def fault(asked: Asked) -> Response:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.3)
        for _ in range(2000 if times > 1 else 20):
            if await asked.request.is_disconnected():
                break
            await asyncio.sleep(0.01)
        return await ANSWER(asked)

    return fault


def test_an_error_ends_a_run_once_the_requests_under_way_are_answered_kept_and_paid(tmp_path: Path, tiny: Path) -> None:
    ended = sit(tmp_path, tiny, [fails(404)], EthosError)
    assert ended.answers == ended.calls == ended.requests - 1
    assert ended.status == "failed"
    assert any("requests are under way, and what is answered is kept" in line for line in ended.lines)


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_ends_a_run_once_the_requests_under_way_are_answered_kept_and_paid(tmp_path: Path, tiny: Path) -> None:
    ended = sit(tmp_path, tiny, [interrupts(1)], KeyboardInterrupt)
    assert ended.answers == ended.calls == ended.requests > 0
    assert ended.status == "stopped"


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path, tiny: Path) -> None:
    ended = sit(tmp_path, tiny, [interrupts(2)], KeyboardInterrupt, concurrency=1)
    assert (ended.requests, ended.answers, ended.calls) == (1, 0, 0)
    assert ended.status == "stopped"
