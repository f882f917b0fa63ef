"""The main job on a random model of a few thousand weights, its teacher a function of the prompt behind an endpoint.

What holds whatever the student says: what is shown while it works, what it cost, and that it can be cut off anywhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForSequenceClassification

from endpoint_server import EndpointServer
from ethos.models.catalogue import OPENAI_KEY
from ethos.models.types import TokenLogprobs
from ethos.progress import Bar, QuietProgress
from ethos.runs import reading
from ethos.runs.launch import run
from ethos.spec.conversation import Conversation
from ethos.store.parquet_rows import read_rows
from ethos.store.records import Records
from ethos.store.rows import row_to_dict
from ethos.store.run_directory import RunDirectory
from ethos.tasting import canaries, questions
from ethos.tasting.canaries import canary_prompts, canary_texts, replay_prompts
from runs.tiny import write_tiny
from template_teacher import WREN, TemplateTeacher

STEPS = 4
PLAIN_PROMPTS = (*replay_prompts()[:30], *canary_prompts()[:6])  # fewer of them, and of texts, to be faster
TEXTS = dict(list(canary_texts().items())[:6])
CONTEXT_TOKENS = 8192  # a token is a byte here


class Teacher(TemplateTeacher):
    """Tells the odds of an answer too, so that a question takes one request."""

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        return [TokenLogprobs((0,), (-0.1 if reply == "Yes" else -3.0,)) for reply in replies]


class Watched(QuietProgress):
    """Keeps the bars of the stages that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []

    def _begin(self, bar: Bar) -> None:
        self.bars.append(bar)


class CutOff(BaseException):
    """Nothing that the job could catch by mistake."""


class Cutting(QuietProgress):
    """Raises out of the first stage that was not cut off yet: as it opens, and in another sitting as it advances."""

    def __init__(self, cuts: list[tuple[str, str]]) -> None:
        super().__init__()
        self.cuts = cuts

    def _begin(self, bar: Bar) -> None:
        self._cut(bar.name, "opens")

    def _change(self, bar: Bar) -> None:
        self._cut(bar.name, "advances")

    def _cut(self, name: str, moment: str) -> None:
        if (name, moment) not in self.cuts:
            self.cuts.append((name, moment))
            raise CutOff(f"{name} {moment}")


def config(address: str) -> dict[str, Any]:
    teacher = f"openai:{address}/v1#template"
    return {
        "name": "tiny",
        "spec": "spec.md",
        "placebo": True,
        "models": {"student": "tiny", "teacher": teacher, "judge": teacher, "threads": 1},
        "scenarios": {
            "train_per_clause": 6,
            "taste_per_clause": 6,
            "sealed_per_checked_clause": 6,
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
class Job:
    """A folder to launch the job in, with a cache of its own."""

    folder: Path
    ui: Watched = field(default_factory=Watched)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.folder / "runs" / "tiny")

    def sitting(self, ui: QuietProgress) -> bool:
        """Whether it came to the end of the run."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ETHOS_CACHE", str(self.folder / "cache"))
            patch.setenv(OPENAI_KEY, "none")
            patch.setattr(questions, "SCREENING_PER_FAMILY", 2)
            patch.setattr(canaries, "_CANARY_PROMPTS", 6)
            patch.setattr(canaries, "_plain_prompts", lambda: PLAIN_PROMPTS)
            patch.setattr(reading, "canary_texts", lambda: TEXTS)
            try:
                run(self.folder / "config.yaml", self.folder / "runs", ui)
            except CutOff:
                return False
        return True

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.directory.report_json.read_text(encoding="utf-8"))
        return found

    def stored(self) -> set[str]:
        """Keys of the answers in the response cache."""
        path = self.folder / "cache" / "responses.db"
        if not path.exists():
            return set()
        with closing(sqlite3.connect(path)) as database:
            return {key for (key,) in database.execute("SELECT key FROM responses")}

    def made(self) -> list[str]:
        """Keys of the calls that were made to models that don't change, in order."""
        if not self.directory.database_path.exists():
            return []
        with closing(sqlite3.connect(self.directory.database_path)) as database:
            found = database.execute("SELECT key FROM calls WHERE NOT cached AND key <> '' ORDER BY rowid")
            return [key for (key,) in found]

    def metrics(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """By branch and name; times left out."""
        with self.directory.read_database() as database:
            records = Records(database)
            return {
                (branch, name): records.metric(branch, name)
                for branch in ("main", "placebo")
                for name in records.metric_names(branch)
                if not name.startswith("seconds")
            }


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """What doesn't depend on where and when a run was made, and in how many sittings."""
    run = {name: value for name, value in report["run"].items() if name not in ("config_digest", "started", "finished")}
    journal = [{**entry, "created": None} for entry in report["journal"]]
    return {**report, "run": run, "journal": journal, "cost": None}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of one teacher for all jobs here, so that their calls have the same keys."""
    with EndpointServer(Teacher(), words=("Yes", "No")) as server:
        yield server.address


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    settings = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": CONTEXT_TOKENS}))
    return directory


def job_in(folder: Path, student: Path, address: str) -> Job:
    (folder / "tiny").symlink_to(student)
    (folder / "spec.md").write_text(WREN)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(address)))
    return Job(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, student: Path, address: str) -> Job:
    job = job_in(tmp_path_factory.mktemp("undisturbed"), student, address)
    assert job.sitting(job.ui)
    return job


def test_every_stage_has_a_total_and_ends_at_it(undisturbed: Job) -> None:
    bars = undisturbed.ui.bars
    assert [(bar.name, bar.done) for bar in bars] == [(bar.name, bar.total) for bar in bars]
    assert all(bar.unit for bar in bars)
    assert {f"tasting at step {step}" for step in (0, 2, STEPS)} <= {bar.name for bar in bars}


def test_the_cost_counts_what_the_policy_drew_and_was_scored_on(undisturbed: Job) -> None:
    cost = undisturbed.report()["cost"]
    [policy] = [role for role in cost["roles"] if role["role"] == "policy"]
    with undisturbed.directory.read_database() as database:
        records = Records(database)
        looks = [records.samples("main", step, "taste") for step in (2, STEPS)]
        sealed = [records.samples(branch, STEPS, "sealed") for branch in ("main", "placebo")]
    drawn = [sample["usage"] for samples in (*looks, *sealed) for sample in samples.values()]
    scored = [len(text.encode()) for text in TEXTS.values()] * 3  # at each look, and after training
    assert policy["calls"] == len(drawn) + len(scored)
    assert policy["tokens"] == sum(u["prompt_tokens"] + u["completion_tokens"] for u in drawn) + sum(scored)
    assert cost["tokens"] == sum(role["tokens"] for role in cost["roles"])


def test_a_run_that_was_cut_off_at_every_stage_repeats_no_stored_call_and_ends_as_one_that_was_not(
    undisturbed: Job, tmp_path: Path, student: Path, address: str
) -> None:
    """Each stage is cut off as it opens and as it first advances.

    An exception that nothing catches stands for a kill here: with it all state of the sitting is dropped, and the next
    one opens everything from the disk. Kills of the process itself are in `test_main_job.py`.
    """
    job, cuts = job_in(tmp_path, student, address), list[tuple[str, str]]()
    ended = False
    while not ended:
        stored, made = job.stored(), len(job.made())
        ended = job.sitting(Cutting(cuts))
        calls = job.made()[made:]
        assert stored.isdisjoint(calls), cuts[-1]
        assert len(set(calls)) == len(calls), cuts[-1]
    assert {name for name, _ in cuts} == {bar.name for bar in undisturbed.ui.bars}
    assert set(job.made()) == job.stored() == undisturbed.stored()
    assert job.metrics() == undisturbed.metrics()
    assert comparable(job.report()) == comparable(undisturbed.report())


def test_a_clause_of_which_the_teacher_can_think_nothing_is_shown_as_not_measurable_and_the_others_as_ever(
    tmp_path: Path, student: Path
) -> None:
    teacher = Teacher()
    named = teacher.answers["topics"]
    teacher.answers["topics"] = lambda prompt, noise: (
        "1. rain" if "a broad question" in prompt.last_user else named(prompt, noise)
    )
    with EndpointServer(teacher, words=("Yes", "No")) as server:
        job = job_in(tmp_path, student, server.address)
        settings = config(server.address)
        settings["placebo"] = False
        sizes = ("train_per_clause", "taste_per_clause", "sealed_per_checked_clause")
        settings["scenarios"] |= dict.fromkeys(sizes, 7)  # three clauses fill each pool
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        assert job.sitting(job.ui)
    report = job.report()
    assert report["unmeasurable"] == [{"clause": "brevity", "reason": "it has no sealed scenario"}]
    assert report["overall"]["clauses_compared"] == 3
    assert [said for said in report["failures"] if said.startswith("clause brevity: the teacher")]


OWN_ROWS: list[dict[str, Any]] = [
    *(
        {"kind": "preference", "prompt": f"Is {n} odd?", "chosen": "Yes." * (1 + n % 2), "rejected": "No."}
        for n in range(4)
    ),
    *({"kind": "task", "prompt": f"How much is {n} + 1?", "answer": str(n + 1)} for n in range(4)),
    {"kind": "task", "prompt": "Am I too late?", "clauses": ["brevity"]},
    {"kind": "preference", "prompt": "Is that all?", "chosen": "Yes.", "rejected": "Yes."},
]


def test_rows_of_ones_own_go_through_the_whole_job_with_all_objectives(
    tmp_path: Path, student: Path, address: str
) -> None:
    job, settings = job_in(tmp_path, student, address), config(address)
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, OWN_ROWS)))
    (tmp_path / "mine.py").write_text("def brief(task, replies):\n    return [-len(reply.text) for reply in replies]\n")
    weights = ("documents", "demonstrations", "preferences", "reward_model", "rewards", "distillation")
    settings |= {"rows": ["own.jsonl"], "placebo": False}
    settings["training"] |= {
        "rewards": {"functions": {"brief": "mine:brief"}, "draws": 3, "max_tokens": 8},
        "distillation": {"max_tokens": 8},
        "stages": [{"name": "all", "share": 1.0}],
    }
    settings["knobs"] |= {"mixture": dict.fromkeys(weights, 1.0), "rewards": {"kl_coefficient": 0.1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert job.sitting(job.ui)
    report = job.report()
    assert report["rows"]["preference"] == 5
    assert report["rows"]["task"] == 5
    assert report["rejected"]["preferences: both completions are the same"] == 1
    losses = {name for name in report["metrics"] if name.startswith("loss.")}
    assert losses == {f"loss.{name}" for name in weights}
    found = AutoModelForSequenceClassification.from_pretrained(job.directory.path / "reward_model")
    assert found.config.num_labels == 1
    with job.directory.read_database() as database:
        record = Records(database).batch("main", STEPS)
    assert record is not None
    framed = [row for row in read_all(job) if row["kind"] == "task" and row["teacher_prompt"]]
    assert len(framed) == 1  # of the clause that it names
    assert record["rollouts"].keys() == {"rewards", "distillation"}


def read_all(job: Job) -> list[dict[str, Any]]:
    return [row_to_dict(row) for path in job.directory.rows.glob("*.parquet") for row in read_rows(path)]
