"""A training run of the tiny model on rows of its own: what the tests of the loop train, kill and read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ethos.progress import QuietProgress
from ethos.runs.controls import Controls
from ethos.runs.session import Session, open_session
from ethos.runs.training import Prepared, Trainer, prepare_rows
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_spec
from ethos.store.config.run import RunConfig, load_config
from ethos.store.journal import MAIN
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, Row
from ethos.training.policy import Policy, load_policy

STEPS = 14
CONFIG = """\
name: tiny
spec: spec.md
models: {student: tiny, teacher: tiny, judge: tiny}
scenarios: {taste_per_clause: 20, gate_per_clause: 20, train_per_clause: 20}
training: {steps: STEPS, precision: fp32, checkpoint_every: 4, context_tokens: 128, micro_batch_tokens: 64}
knobs: {lr: 0.003, batch_rows: 4, taste_every: 1}
""".replace("STEPS", str(STEPS))
SPEC = """\
# Tiny

## Short {#short}

Tiny answers in at most ten words.

```ethos
checks: {max_words: 10}
```
"""
LINEAGE = Lineage("test", ("short",))
Look = Callable[[int], Awaitable[None]]


def write_config(folder: Path) -> RunConfig:
    """Config and spec in `folder`, beside the tiny model."""
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(CONFIG)
    return load_config(folder / "config.yaml")


@contextmanager
def session_in(folder: Path, config: RunConfig | None = None) -> Iterator[Session]:
    """A sitting of the run in `folder`."""
    config = config or load_config(folder / "config.yaml")
    with open_session(config, parse_spec(config.spec), folder / "runs", QuietProgress()) as session:
        yield session


def rows() -> list[Row]:
    """Seven documents and eleven demonstrations, so that epochs end within the run and never together."""
    documents = [DocumentRow(f"The tiny one said {n} and then {n * n}.", "t", LINEAGE) for n in range(7)]
    demonstrations = [
        DemonstrationRow(Conversation.user(f"How much is {n}?").then("assistant", f"It is {n}."), LINEAGE)
        for n in range(11)
    ]
    return [*documents, *demonstrations]


def policy_of(folder: Path, config: RunConfig) -> Policy:
    """The tiny student, ready to train."""
    return load_policy(folder / "tiny", config.training, None, config.seed)


def prepared(policy: Policy) -> dict[str, Prepared]:
    """Its rows as tokens."""
    return prepare_rows(policy, "v1", rows())


async def no_look(step: int) -> None:
    """Looks at nothing."""


async def train(
    session: Session, policy: Policy, look: Look = no_look, controls: Controls | None = None, steps: int = STEPS
) -> None:
    """Trains to the end, or goes on."""

    async def run_job(job: Callable[..., Any], *arguments: Any) -> Any:
        return job(*arguments)

    trainer = Trainer(session, policy, prepared(policy), MAIN, steps, controls)
    await trainer.train(run_job, look, lambda fingerprint: None)


def losses(session: Session) -> dict[str, list[tuple[int, float]]]:
    """All metrics of the loop that training decides, by name."""
    names = [n for n in session.records.metric_names(MAIN) if not n.startswith("seconds")]
    return {name: session.records.metric(MAIN, name) for name in names}
