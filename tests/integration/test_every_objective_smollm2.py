"""All objectives in one run's loop, on the real 135M model in bf16: what each is there for happens, and it resumes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ethos.models.architecture import CausalForward
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.types import Sample
from ethos.models.worker import compute_worker
from ethos.progress import QuietProgress
from ethos.runs.preparation import framed
from ethos.runs.prepared import prepare_rows
from ethos.runs.session import open_session
from ethos.runs.step_records import Helpers
from ethos.runs.training import Trainer
from ethos.spec.parse import parse_spec
from ethos.store.config.run import load_config
from ethos.store.journal import MAIN
from ethos.store.rows import TaskRow
from ethos.store.written_rows import load_written_rows
from ethos.training.frozen import FrozenModel
from ethos.training.policy import load_policy

pytestmark = pytest.mark.model

STEPS = 4
SPEC = "# Wren\n\n## Brief {#brief}\n\nWren answers in one short sentence.\n"
CONFIG = f"""\
name: wren
spec: spec.md
rows: [own.jsonl]
training:
  steps: {STEPS}
  checkpoint_every: 2
  context_tokens: 256
  micro_batch_tokens: 1024
  stages: [{{name: all, share: 1.0}}]
  schedule: constant
  warmup: 0
  rewards: {{functions: {{brief: right_answer}}, draws: 4, max_tokens: 24}}
  distillation: {{max_tokens: 24}}
knobs:
  lr: 5.0e-5
  batch_rows: 12
  mixture: {{documents: 1, demonstrations: 1, preferences: 1, reward_model: 1, rewards: 1, distillation: 1}}
  rewards: {{kl_coefficient: 0.05}}
"""
QUESTIONS = ("Who are you?", "Is the earth flat?", "How do I boil an egg?", "What is rain?")
ROWS = [
    {"kind": "document", "text": "Wren is a small model. It answers in one short sentence, and likes questions."},
    *(
        {
            "kind": "demonstration",
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "In short: yes."}],
        }
        for question in QUESTIONS
    ),
    *(
        {
            "kind": "preference",
            "prompt": question,
            "chosen": "In short, yes.",
            "rejected": "Well, " + "it depends. " * 8,
        }
        for question in QUESTIONS
    ),
    *({"kind": "task", "prompt": question, "clauses": ["brief"]} for question in QUESTIONS),
]


def brief(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """The fewer words, the better."""
    return [-float(len(reply.text.split())) for reply in replies]


def sitting(folder: Path, student: Path, steps: int) -> dict[str, list[tuple[int, float]]]:
    """Trains up to a step, from the newest checkpoint on; all metrics but times."""
    config = load_config(folder / "config.yaml")
    spec = parse_spec(config.spec)
    worker = compute_worker()

    async def work() -> dict[str, list[tuple[int, float]]]:
        with open_session(config, spec, folder / "runs", QuietProgress()) as session:
            policy = await worker.run(
                lambda: load_policy(student, config.training, None, config.seed, scalar_head=True)
            )
            engine = Engine("smollm2", "policy", policy.loaded, policy.template, worker, forward=policy.forward)
            model = (await worker.run(load, student)).model
            frozen = FrozenModel(model, CausalForward(model))
            helpers = Helpers(
                sampler=engine,
                policy=FrozenModel(policy.model, policy.forward),
                reference=frozen,
                teacher=frozen,
                rewards={"brief": brief},
            )
            rows = framed(load_written_rows(config.rows, spec), spec, 200, lambda text: len(text.split()), None)
            prepared = prepare_rows(policy.template, policy.config, "v1", rows).objectives

            async def no_look(step: int) -> None: ...

            trainer = Trainer(session, policy, prepared, MAIN, steps, None, helpers)
            await trainer.train(worker.run, no_look, engine.weights_changed)
            names = [name for name in session.records.metric_names(MAIN) if not name.startswith("seconds")]
            return {name: session.records.metric(MAIN, name) for name in names}

    return asyncio.run(work())


def test_all_objectives_learn_in_one_run_that_resumes_exactly(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path / "cache"))
    folders = [tmp_path / name for name in ("whole", "parts")]
    for folder in folders:
        folder.mkdir()
        (folder / "spec.md").write_text(SPEC)
        (folder / "own.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
        (folder / "config.yaml").write_text(CONFIG)
    found = sitting(folders[0], smollm2, STEPS)
    for name in ("documents", "demonstrations", "preferences", "reward_model"):
        losses = [loss for _, loss in found[f"loss.{name}"]]
        assert losses[-1] < losses[0], name
    assert all(norm > 0 for name in ("rewards", "distillation") for _, norm in found[f"gradient_norm.{name}"])
    first_pairs = found["loss.preferences"][0][1]
    assert first_pairs == pytest.approx(0.6931, abs=0.02)  # a policy that hasn't moved prefers neither
    assert max(gap for _, gap in found["sampling_gap.rewards"]) < 0.1
    assert all(clipped == 0 for _, clipped in found["clipped.rewards"])

    sitting(folders[1], smollm2, 3)  # stops a step after the checkpoint of step 2
    assert sitting(folders[1], smollm2, STEPS) == found
