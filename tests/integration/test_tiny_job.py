"""The main job on a random model of a few thousand weights, its teacher a function of the prompt behind an endpoint.

What holds whatever the student says: what is shown while it works, what it cost, and that it can be cut off anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from endpoint_server import EndpointServer
from ethos.models.catalogue import OPENAI_KEY
from ethos.progress import Bar, QuietProgress
from ethos.runs.launch import RunOutcome, run
from ethos.store.records import Records
from ethos.store.run_directory import RunDirectory
from ethos.tasting.canaries import canary_texts
from runs.tiny import write_tiny
from template_teacher import WREN, TemplateTeacher

STEPS = 4
CONTEXT_TOKENS = 8192  # a token is a byte here


class Watched(QuietProgress):
    """Keeps the bars of the stages that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []

    def _begin(self, bar: Bar) -> None:
        self.bars.append(bar)


def config(address: str) -> dict[str, Any]:
    teacher = f"openai:{address}/v1#template"
    return {
        "name": "tiny",
        "spec": "spec.md",
        "placebo": True,
        "models": {"student": "tiny", "teacher": teacher, "judge": teacher, "threads": 1},
        "scenarios": {
            "train_per_clause": 5,
            "taste_per_clause": 5,
            "sealed_per_checked_clause": 5,
            "contrast_per_clause": 1,
        },
        "synthesis": {
            "documents": {"count": 4, "max_tokens": 128},
            "demonstrations": {"draws": 2, "max_tokens": 32, "replay_rows": 4},
        },
        "training": {
            "steps": STEPS,
            "precision": "fp32",
            "checkpoint_every": 2,
            "context_tokens": 1024,
            "micro_batch_tokens": 512,
        },
        "tasting": {"max_tokens": 8, "questions": 20},
        "knobs": {"batch_rows": 3, "taste_every": 2, "taste_prompts": 1},
    }


@dataclass(frozen=True)
class Launched:
    """A folder to launch the job in, with a teacher of its own."""

    folder: Path
    server: EndpointServer

    def run(self, ui: QuietProgress) -> RunOutcome:
        return run(self.folder / "config.yaml", self.folder / "runs", ui)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    settings = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": CONTEXT_TOKENS}))
    return directory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, student: Path) -> Iterator[tuple[RunOutcome, Watched]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny").symlink_to(student)
    (folder / "spec.md").write_text(WREN)
    with pytest.MonkeyPatch.context() as patch, EndpointServer(TemplateTeacher()) as server:
        patch.setenv("ETHOS_CACHE", str(folder / "cache"))
        patch.setenv(OPENAI_KEY, "none")
        (folder / "config.yaml").write_text(yaml.safe_dump(config(server.address)))
        ui = Watched()
        yield Launched(folder, server).run(ui), ui


def test_every_stage_has_a_total_and_ends_at_it(undisturbed: tuple[RunOutcome, Watched]) -> None:
    _, ui = undisturbed
    assert [(bar.name, bar.done) for bar in ui.bars] == [(bar.name, bar.total) for bar in ui.bars]
    assert all(bar.unit for bar in ui.bars)
    assert {f"tasting at step {step}" for step in (0, 2, STEPS)} <= {bar.name for bar in ui.bars}


def test_the_cost_counts_what_the_policy_drew_and_was_scored_on(undisturbed: tuple[RunOutcome, Watched]) -> None:
    outcome, _ = undisturbed
    [policy] = [role for role in outcome.report["cost"]["roles"] if role["role"] == "policy"]
    with RunDirectory(outcome.run_dir).read_database() as database:
        records = Records(database)
        looks = [records.samples("main", step, "taste") for step in (2, STEPS)]
        sealed = [records.samples(branch, STEPS, "sealed") for branch in ("main", "placebo")]
    drawn = [sample["usage"] for samples in (*looks, *sealed) for sample in samples.values()]
    scored = [len(text.encode()) for text in canary_texts().values()] * 3  # at each look, and after training
    assert policy["calls"] == len(drawn) + len(scored)
    assert policy["tokens"] == sum(u["prompt_tokens"] + u["completion_tokens"] for u in drawn) + sum(scored)
    assert outcome.report["cost"]["tokens"] == sum(role["tokens"] for role in outcome.report["cost"]["roles"])
