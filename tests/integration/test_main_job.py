"""The main job on the real 135M student, its teacher and its judge functions of the prompt behind real endpoints.

One run is killed -9 twice, while the teacher writes and while the student trains; it is then adjusted, and comes to its
end, a placebo arm beside it. What it says is read by all tests here. Quality is not looked at: six steps teach nothing.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from endpoint_server import EndpointServer
from ethos.cli.steering import adjust
from ethos.models.catalogue import OPENAI_KEY
from ethos.models.templates import ChatTemplate
from ethos.models.types import TokenLogprobs
from ethos.progress import QuietProgress
from ethos.report.writing import HTML
from ethos.runs.checkpoints import list_checkpoints
from ethos.runs.plan import plan
from ethos.spec.conversation import Conversation
from ethos.store.cache import cache_directory
from ethos.store.config.run import load_config
from ethos.store.ledger import Ledger, Totals
from ethos.store.parquet_rows import read_rows
from ethos.store.records import Records
from ethos.store.rows import DemonstrationRow, Row
from ethos.store.run_directory import RunDirectory
from ethos.store.trace import find_row
from ethos.training.schedule import plan_step
from template_judge import WORDS, TemplateJudge
from template_teacher import ANSWERS, WREN, TemplateTeacher, phrase, reply

pytestmark = pytest.mark.model

STEPS = 6
CHECKED = ("name", "brevity", "plain", "step")
REASON, WARMTH = "Does the reply give a reason?", "Is the reply warm?"
SPEC = f"""{WREN}
## Reasons {{#reason}}

Wren gives a reason, after the word "because".

Advice that is understood is remembered.

```ethos
when: someone asks why something happens
ask: {REASON}
```

## Warmth {{#warmth}}

Wren is warm to whoever writes.

Nobody writes to a workshop for the fun of it.

```ethos
applies: always
ask: {WARMTH}
```
"""
KEY = "sk-sesame-0123456789"
SITTING = """\
import sys
from pathlib import Path
from ethos.progress import QuietProgress
from ethos.report.writing import HTML
from ethos.runs.checkpoints import list_checkpoints
from ethos.runs.launch import run
run(Path(sys.argv[1]) / "config.yaml", Path(sys.argv[1]) / "runs", QuietProgress())
"""


class TellingTeacher(TemplateTeacher):
    """Takes every message for a case, and says so in log-probabilities."""

    async def score(self, prompt: Conversation, replies: Sequence[str]) -> list[TokenLogprobs]:
        return [TokenLogprobs((0,), (0.0 if reply == "Yes" else -9.0,)) for reply in replies]


def gives_a_reason(text: str) -> bool:
    """What the judge says of `REASON`; of `WARMTH` it says the same of every reply."""
    return "because" in text


def reply_with_or_without_a_reason(prompt: Conversation, noise: random.Random) -> str:
    """The teacher's: half of its replies keep to the clause `reason`, and all to the checked ones."""
    said = reply(prompt, noise)
    return noise.choice((said, f"{said[:-1]}, because the {phrase(noise)} waits."))


def labelled_replies() -> dict[str, Any]:
    """A calibration file for both judged clauses, each with 16 good and 16 bad replies."""
    noise = random.Random(0)
    return {
        clause: [
            {
                "prompt": f"Why is the {phrase(noise)} shut?",
                "good": [f"It is shut because of the {phrase(noise)}." for _ in range(4)],
                "bad": [f"It is shut and so is the {phrase(noise)}." for _ in range(4)],
            }
            for _ in range(4)
        ]
        for clause in ("reason", "warmth")
    }


def config(teacher: str, judge: str) -> dict[str, Any]:
    return {
        "name": "wren",
        "spec": "spec.md",
        "calibration": "calibration.yaml",
        "placebo": True,
        "models": {
            "student": "embedded:smollm2-135m",
            "teacher": f"openai:{teacher}/v1#teacher",
            "judge": f"openai:{judge}/v1#judge",
            "threads": 1,
        },
        "scenarios": {
            "train_per_clause": 5,
            "taste_per_clause": 5,
            "sealed_per_checked_clause": 5,
            "sealed_per_judged_clause": 5,
            "contrast_per_clause": 1,
        },
        "synthesis": {
            "documents": {"count": 6, "max_tokens": 128},
            "demonstrations": {"draws": 2, "max_tokens": 32, "replay_rows": 16},
        },
        "training": {
            "steps": STEPS,
            "schedule": "linear",
            "checkpoint_every": 2,
            "context_tokens": 256,
            "micro_batch_tokens": 128,
        },
        "tasting": {"max_tokens": 16, "questions": 20},
        "knobs": {"batch_rows": 3, "taste_every": STEPS, "taste_prompts": 1},
    }


def stored(cache: Path) -> int:
    """Answers of the teacher in the response cache."""
    if not (cache / "responses.db").exists():
        return 0
    with closing(sqlite3.connect(cache / "responses.db")) as database:
        try:
            rows = database.execute("SELECT count(*) FROM responses WHERE json_extract(meta, '$.role') = 'teacher'")
        except sqlite3.OperationalError:  # the table isn't there yet
            return 0
        count: int = rows.fetchone()[0]
    return count


@dataclass(frozen=True)
class Job:
    """The run at its end, and what was seen on the way."""

    folder: Path
    server: EndpointServer
    teacher: TemplateTeacher
    report: dict[str, Any]
    asked: tuple[int, ...]  # requests at the server after each sitting
    answered: tuple[int, ...]  # teacher's answers in the cache after each sitting
    batches: list[Any]  # of the steps before the second kill
    losses: dict[str, list[tuple[int, float]]]  # as they were at the second kill

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.folder / "runs" / "wren")

    def rows(self) -> list[Row]:
        return [row for path in sorted(self.run.rows.glob("*.parquet")) for row in read_rows(path)]


def batches(run: RunDirectory) -> list[Any]:
    """The batch records so far."""
    if not run.database_path.exists():
        return []
    with run.read_database() as database:
        found = [Records(database).batch("main", step) for step in range(1, STEPS + 1)]
    return [record for record in found if record is not None]


def losses(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """(step, loss) of each objective so far."""
    with run.read_database() as database:
        records = Records(database)
        return {n: records.metric("main", n) for n in records.metric_names("main") if n.startswith("loss.")}


def kill_when(folder: Path, reached: Callable[[], bool]) -> None:
    """Starts a sitting in a process of its own, and kills it once it has come so far."""
    with subprocess.Popen([sys.executable, "-c", SITTING, str(folder)], stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not reached():
            time.sleep(0.01)
        ended = child.poll()
        child.kill()
        assert child.stderr is not None
        assert ended is None, child.stderr.read()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Job]:
    from transformers import AutoTokenizer

    from ethos.runs.launch import run

    folder = tmp_path_factory.mktemp("job")
    cache = folder / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(cache_directory() / "models")
    template = ChatTemplate(AutoTokenizer.from_pretrained(smollm2, local_files_only=True), None)

    def count_tokens(prompt: Conversation) -> int:
        return len(template.prompt(prompt))

    teacher = TellingTeacher(
        count_tokens=count_tokens,
        answers={**ANSWERS, "demonstration": reply_with_or_without_a_reason},
    )
    judge = TemplateJudge({REASON: gives_a_reason}, count_tokens=count_tokens)
    with (
        pytest.MonkeyPatch.context() as patch,
        EndpointServer(teacher, key=KEY, words=("Yes", "No")) as server,
        EndpointServer(judge, key=KEY, words=WORDS) as judging,
    ):
        patch.setenv("ETHOS_CACHE", str(cache))
        patch.setenv(OPENAI_KEY, KEY)
        (folder / "spec.md").write_text(SPEC)
        (folder / "calibration.yaml").write_text(yaml.safe_dump(labelled_replies()))
        (folder / "config.yaml").write_text(yaml.safe_dump(config(server.address, judging.address)))
        asked, answered = [], []
        launched = RunDirectory(folder / "runs" / "wren")
        for reached in (lambda: stored(cache) >= 60, lambda: len(batches(launched)) >= 4):
            kill_when(folder, reached)
            asked.append(len(server.requests))
            answered.append(stored(cache))
        before, losses_before = batches(launched), losses(launched)
        assert list_checkpoints(launched.checkpoints) == [2]
        adjust(str(launched.path), ["lr=3e-5", "mixture.documents=0.5"], "the loss jumps", "ada")
        outcome = run(folder / "config.yaml", folder / "runs", QuietProgress())
        asked, answered = [*asked, len(server.requests)], [*answered, stored(cache)]
        yield Job(folder, server, teacher, outcome.report, tuple(asked), tuple(answered), before, losses_before)


def test_the_report_is_what_its_schema_describes(job: Job) -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    on_disk = json.loads(job.run.report_json.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(on_disk)
    assert on_disk == json.loads(json.dumps(job.report))
    assert {clause["id"]: clause["n"] for clause in on_disk["clauses"]} == {
        **dict.fromkeys((*CHECKED, "reason"), 5),
        "warmth": 0,
    }
    assert (job.run.path / HTML).read_text(encoding="utf-8").startswith("<!")


def test_after_a_kill_no_answered_request_is_made_again(job: Job) -> None:
    """What is asked after a sitting is what the cache didn't hold at its end, and not one request more."""
    assert 60 <= job.answered[0] < job.answered[1]
    assert job.asked[2] - job.asked[0] == job.answered[2] - job.answered[0]
    assert job.asked[1] == job.asked[2]


def test_the_steps_before_a_kill_keep_their_batches(job: Job) -> None:
    assert len(job.batches) >= 3
    assert batches(job.run)[: len(job.batches)] == job.batches
    assert len(batches(job.run)) == STEPS


def test_the_losses_before_a_kill_are_those_after_it(job: Job) -> None:
    """The checkpoint was of step 2, so at least step 3 was trained twice."""
    assert any(step >= 3 for points in job.losses.values() for step, _ in points)
    found = losses(job.run)
    for name, points in job.losses.items():
        assert found[name][: len(points)] == points


def test_an_adjustment_takes_effect_at_the_next_boundary_and_is_in_journal_and_report(job: Job) -> None:
    step = len(job.batches) + 1
    entries = [entry for entry in job.report["journal"] if entry["kind"] == "knob"]
    assert [(e["name"], e["old"], e["new"], e["step"], e["author"], e["reason"]) for e in entries] == [
        ("lr", 1e-4, 3e-5, step, "ada", "the loss jumps"),
        ("mixture.documents", 1.0, 0.5, step, "ada", "the loss jumps"),
    ]
    page = (job.run.path / HTML).read_text(encoding="utf-8")
    assert "the loss jumps" in page
    assert f"step {step}: <code>lr</code> 0.0001 → 3e-05, ada" in page
    launched = load_config(job.folder / "config.yaml")
    planned = [plan_step(launched.training, launched.knobs, n).lr for n in range(STEPS)]
    trained = [record["lr"] for record in batches(job.run)]
    assert trained == pytest.approx([lr if n < step - 1 else 0.3 * lr for n, lr in enumerate(planned)])


def test_the_placebo_had_the_real_arms_steps_and_tokens(job: Job) -> None:
    tokens = job.report["placebo"]["loss_tokens"]
    assert tokens["trained"] == tokens["placebo"] > 0
    with job.run.read_database() as database:
        placebo = [Records(database).batch("placebo", step) for step in range(1, STEPS + 1)]
    for real, shadow in zip(batches(job.run), placebo, strict=True):
        assert shadow is not None
        assert {**shadow, "row_ids": None} == {**real, "row_ids": None}
        assert all(set(real["row_ids"][n]).isdisjoint(shadow["row_ids"][n]) for n in real["row_ids"])


def test_a_second_run_is_at_once_and_makes_no_call(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from ethos.runs import launch

    def never(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    with job.run.read_database() as database:
        before = Ledger(database).totals()
    requests = len(job.server.requests)
    monkeypatch.setattr(launch.ModelShelf, "_load", never)
    again = launch.run(job.folder / "config.yaml", job.folder / "runs", QuietProgress())
    assert again.report == json.loads(json.dumps(job.report))
    with job.run.read_database() as database:
        assert Ledger(database).totals() == before
    assert len(job.server.requests) == requests


def test_the_plan_is_what_the_ledger_holds(job: Job) -> None:
    """Within a factor of 1.5, and not above the most. All that this teacher writes can be used; less is expected."""
    planned = {work.role: work for work in plan(load_config(job.folder / "config.yaml"), job.folder).work}
    with job.run.read_database() as database:
        totals = Ledger(database).totals()
    for role in ("teacher", "judge", "sealed judge", "student"):
        made, expected = totals.get(role, Totals()), planned[role]
        calls = made.calls - made.cached
        assert calls / 1.5 <= expected.calls <= 1.5 * calls, role
        assert made.tokens / 1.5 <= expected.tokens <= 1.5 * made.tokens, role
        assert calls <= expected.most_calls, role
        assert made.tokens <= expected.most_tokens, role


def test_every_row_traces_to_a_clause_or_a_capability(job: Job) -> None:
    clauses = {*CHECKED, "reason", "warmth"}
    rows = job.rows()
    recipes = {"spec_text", "documents", "demonstrations", "replay", "placebo"}
    assert {row.lineage.recipe for row in rows} == recipes
    for row in rows:
        found = find_row(job.run, row.id)
        assert found in [other for other in rows if other.id == row.id]  # the placebo may repeat what replay says
        if found.lineage.capability_source is None:
            assert set(found.lineage.clause_ids) <= clauses
            assert found.lineage.clause_ids
        assert found.lineage.pool in (None, "train")


def test_the_calls_of_a_row_are_in_the_response_cache(job: Job) -> None:
    with closing(sqlite3.connect(job.folder / "cache" / "responses.db")) as database:
        keys = {key for (key,) in database.execute("SELECT key FROM responses")}
    made = [row for row in job.rows() if row.lineage.recipe != "spec_text"]
    assert all(row.lineage.calls and set(row.lineage.calls) <= keys for row in made)


def test_no_sealed_or_tasted_prompt_is_in_a_row(job: Job) -> None:
    with job.run.read_database() as database:
        replies = Records(database).replies()
    probed = {reply.prompt.last_user for reply in replies}
    assert {reply.pool for reply in replies} == {"taste", "sealed"}
    trained_on = {row.conversation.last_user for row in job.rows() if row.kind == "demonstration"}
    assert not probed & trained_on


def test_the_sealed_pool_was_read_once_for_every_arm(job: Job) -> None:
    with job.run.read_database() as database:
        sealed = Records(database).replies(purpose="sealed")
    arms = ("base", "prompted", "trained", "placebo")
    assert {arm: sum(r.arm == arm for r in sealed) for arm in arms} == dict.fromkeys(arms, 6 * 5 + 3)
    readings = [entry for entry in job.report["journal"] if entry["kind"] == "reading"]
    assert [entry["new"] for entry in readings] == [list(arms)]
    assert job.report["sealed_readings"] == 1


def test_a_clause_whose_judge_passes_is_measured_by_it(job: Job) -> None:
    """The judge of the sealed replies is that of the rows, asked in other words."""
    [found] = [clause for clause in job.report["clauses"] if clause["id"] == "reason"]
    assert (found["measurable"], found["auc"], found["question"]) == (True, 1.0, REASON)
    assert found["judge"].endswith("#judge (rubric_sealed)")
    assert 0.1 < found["cut"] <= 0.9
    with job.run.read_database() as database:
        replies = [r for r in Records(database).replies(purpose="sealed") if r.clause_id == "reason"]
    heard = [r for r in replies if any(v["judge"] == found["judge"] for v in r.verdicts)]
    assert {r.arm for r in heard} == {"base", "prompted", "trained", "placebo"}
    assert all(r.adherence == gives_a_reason(r.reply) for r in heard)
    assert job.report["same_judge"] is True
    assert [w for w in job.report["warnings"] if w.startswith("same judge: ")]


def test_a_row_of_a_judged_clause_holds_the_judges_verdict(job: Job) -> None:
    rows = [row for row in job.rows() if row.lineage.recipe == "demonstrations" and not row.lineage.contrast]
    judged = [row for row in rows if row.lineage.clause_ids == ("reason",)]
    assert judged
    for row in judged:
        assert isinstance(row, DemonstrationRow)
        assert gives_a_reason(row.conversation.messages[-1].content)
        [verdict] = [verdict for verdict in row.lineage.verdicts if verdict["clause_id"] == "reason"]
        assert verdict["judge"].endswith("#judge (rubric)")
        assert verdict["score"] == pytest.approx(0.9)
    assert job.report["rejected"]["reason: judge"] > 0


def test_a_clause_whose_judge_fails_is_not_measurable_and_gives_no_demonstration(job: Job) -> None:
    [found] = [clause for clause in job.report["clauses"] if clause["id"] == "warmth"]
    assert not found["measurable"]
    assert found["reason"] == "the judge gives every reply the same odds (0.60, yes)"
    assert (found["auc"], found["base"], found["trained"], found["difference"]) == (None, None, None, None)
    assert job.report["unmeasurable"] == [{"clause": "warmth", "reason": found["reason"]}]
    overall = job.report["overall"]
    assert (overall["n"], overall["clauses_compared"]) == (5 * 5, 5)
    assert (overall["judged"]["n"], overall["checked"]["n"]) == (5, 4 * 5)
    assert f"no demonstration of clause warmth was judged: {found['reason']}" in job.report["warnings"]
    rows = [row for row in job.rows() if row.lineage.clause_ids == ("warmth",)]
    assert {row.lineage.recipe for row in rows} == {"documents", "spec_text"}


def test_the_exported_student_loads_and_sees_no_system_message(job: Job) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student = job.run.path / "student"
    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    shown = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}], tokenize=False, add_generation_prompt=True
    )
    assert shown == "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    model = AutoModelForCausalLM.from_pretrained(student, local_files_only=True)
    assert sum(weight.numel() for weight in model.parameters()) > 130e6


def test_the_student_was_trained(job: Job, smollm2: Path) -> None:
    from safetensors.torch import load_file

    before = load_file(smollm2 / "model.safetensors")
    after = load_file(job.run.path / "student" / "model.safetensors")
    assert before.keys() == after.keys()
    assert any((before[name].float() - after[name].float()).abs().max() > 0 for name in before)


def test_no_key_is_written_anywhere(job: Job) -> None:
    written = [path for path in job.folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert {"config.yaml", "run.db", "responses.db", "report.json"} <= {path.name for path in written}
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
