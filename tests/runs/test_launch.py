"""The whole job on a tiny random student, its teacher a function of the prompt behind a real endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from endpoint_server import EndpointServer
from ethos.progress import QuietProgress
from ethos.runs.launch import RunOutcome, run
from template_teacher import WREN, TemplateTeacher

FILTERED = ("umbrella", "a short story in which")
"""What the endpoint's content filter turns down: some messages, and one form of document."""


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


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("job")
    (folder / "tiny").mkdir()
    for path in tiny.iterdir():
        (folder / "tiny" / path.name).write_bytes(path.read_bytes())
    shape = json.loads((tiny / "config.json").read_text())
    (folder / "tiny" / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": 4096}))
    (folder / "spec.md").write_text(WREN)
    with pytest.MonkeyPatch.context() as patch, EndpointServer(TemplateTeacher()) as server:
        server.filtered = FILTERED
        patch.setenv("ETHOS_CACHE", str(folder / "cache"))
        (folder / "config.yaml").write_text(yaml.safe_dump(config(server.address)))
        outcome = run(folder / "config.yaml", folder / "runs", QuietProgress())
        yield Job(folder, server, json.loads(outcome.json.read_text(encoding="utf-8")))


def test_what_the_endpoint_refuses_is_counted_noted_and_left_out(job: Job) -> None:
    rejected = job.report["rejected"]
    assert rejected["document: refused by the endpoint"] == 1
    assert rejected["refused by the endpoint"] == 2  # both draws of a scenario, and no third
    assert rejected["scenario without a usable message"] == 2
    assert job.report["rows"]["demonstration"] > 0
    [noted] = [failure for failure in job.report["failures"] if "refuses the request" in failure]
    assert noted.startswith("a request to the teacher is left out: openai:")
    assert "400: the prompt was filtered" in noted


def test_a_damaged_report_is_written_anew_from_what_the_run_knows(job: Job) -> None:
    asked = len(job.server.requests)
    written = job.folder / "runs" / "wren" / "report.json"
    written.write_text('{"clauses": [')
    outcome, ui = job.again()
    assert any(f"{written}: the file is damaged" in warning for warning in ui.warnings)
    assert json.loads(written.read_text(encoding="utf-8"))["clauses"] == job.report["clauses"]
    assert outcome.report["clauses"]
    assert len(job.server.requests) == asked


def test_a_page_that_is_gone_is_rendered_from_the_report_and_nothing_is_done_again(job: Job) -> None:
    asked, written = len(job.server.requests), job.folder / "runs" / "wren"
    page, data = (written / "report.html").read_text(), (written / "report.json").read_bytes()
    (written / "report.html").unlink()
    outcome, _ = job.again()
    assert outcome.html.read_text() == page
    assert outcome.json.read_bytes() == data
    assert len(job.server.requests) == asked
