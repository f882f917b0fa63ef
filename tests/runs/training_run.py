"""A training run of the tiny model on rows of its own: what the tests of the loop train, kill and read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ethos.models.architecture import CausalForward
from ethos.models.engine import Engine
from ethos.models.loading import load
from ethos.models.types import Sample
from ethos.models.vllm_server import VllmServer
from ethos.models.worker import compute_worker
from ethos.progress import QuietProgress
from ethos.runs.controls import Controls
from ethos.runs.prepared import Prepared, prepare_rows
from ethos.runs.session import Session, open_session
from ethos.runs.step_records import Helpers
from ethos.runs.training import Trainer
from ethos.runs.vllm_rollouts import VllmRollouts
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_spec
from ethos.store.config.run import RunConfig, load_config
from ethos.store.journal import MAIN
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, PreferenceRow, Row, TaskRow
from ethos.training.frozen import FrozenModel
from ethos.training.policy import Policy, load_policy
from ethos.training.reward_functions import find_reward

STEPS = 14
CONFIG = """\
name: tiny
spec: spec.md
models: {student: tiny, teacher: tiny, judge: tiny}
scenarios: {taste_per_clause: 20, gate_per_clause: 20, train_per_clause: 20}
training: {steps: STEPS, precision: fp32, checkpoint_every: 4, context_tokens: 128, micro_batch_tokens: 64}
knobs: {lr: 0.003, batch_rows: 4, taste_every: 1}
""".replace("STEPS", str(STEPS))
EVERY = CONFIG.replace(
    "training: {",
    "training: {rewards: {functions: {brief: 'runs.training_run:brief', right: right_answer},"
    " draws: 3, max_tokens: 6}, distillation: {max_tokens: 6}, ",
).replace(
    "batch_rows: 4",
    "batch_rows: 8, mixture: {preferences: 0.5, reward_model: 0.5, rewards: 1, distillation: 0.5},"
    " rewards: {kl_coefficient: 0.1}",
)
"""The same with all six objectives."""
ADAPTED = EVERY.replace("training: {rewards: {", "training: {method: lora, rewards: {estimator: rloo, ").replace(
    "lr: 0.003", "lr: 0.01"
)
"""And with adapters, and RLOO in the place of GRPO."""
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


def brief(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """A reward of the user's own: the fewer bytes, the better."""
    return [-float(len(reply.token_ids or ())) for reply in replies]


def same(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """A reward that says nothing."""
    return [0.25] * len(replies)


def odd(task: TaskRow, replies: Sequence[Sample]) -> list[float | None]:
    """A reward that has no word on every third reply."""
    return [None if place % 3 == 2 else float(place) for place in range(len(replies))]


def write_config(folder: Path, text: str = CONFIG) -> RunConfig:
    """Config and spec in `folder`, beside the tiny model."""
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(text)
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


def every_row() -> list[Row]:
    """Those, with five pairs and nine tasks."""
    pairs = [PreferenceRow(Conversation.user(f"Is {n} odd?"), "Yes." * (n % 2 + 1), "No.", LINEAGE) for n in range(5)]
    asked = [Conversation.user(f"How much is {n} + {n}?") for n in range(9)]
    tasks = [TaskRow(p, LINEAGE, str(2 * n), p.with_system("Be brief.")) for n, p in enumerate(asked)]
    return [*rows(), *pairs, *tasks]


def policy_of(folder: Path, config: RunConfig) -> Policy:
    """The tiny student, ready to train; with a scalar head if its run trains all objectives."""
    has_head = config.knobs.mixture.reward_model > 0
    return load_policy(folder / "tiny", config.training, None, config.seed, scalar_head=has_head)


def helpers_of(folder: Path, config: RunConfig, policy: Policy) -> Helpers:
    """An engine over the policy, or a server; and the student before training as reference and teacher."""
    worker, server = compute_worker(1), config.training.rollouts.server
    sampler: Engine | VllmRollouts
    if server is None:
        sampler = Engine("tiny", "policy", policy.loaded, policy.template, worker, forward=policy.forward)
    else:
        sampler = VllmRollouts(VllmServer(server), policy, worker, folder / "adapter")
    model = load(folder / "tiny", config.training.precision).model
    frozen = FrozenModel(model, CausalForward(model))
    functions = config.training.rewards.functions.items()
    rewards = {name: find_reward(name, where, folder) for name, where in functions}
    return Helpers(
        sampler=sampler,
        policy=FrozenModel(policy.model, policy.forward),
        reference=frozen,
        teacher=frozen,
        rewards=rewards,
    )


def prepared(policy: Policy) -> dict[str, Prepared]:
    """Its rows as tokens."""
    return prepare_rows(
        policy.template, policy.config, "v1", rows() if policy.scalar_head_E is None else every_row()
    ).objectives


async def no_look(step: int) -> None:
    """Looks at nothing."""


async def train(
    session: Session,
    policy: Policy,
    look: Look = no_look,
    controls: Controls | None = None,
    steps: int = STEPS,
    branch: str = MAIN,
) -> None:
    """Trains to the end, or goes on."""
    helpers = None if policy.scalar_head_E is None else helpers_of(session.config.spec.parent, session.config, policy)

    async def run_job(job: Callable[..., Any], *arguments: Any) -> Any:
        return job(*arguments)

    trainer = Trainer(session, policy, prepared(policy), branch, steps, controls, helpers)
    try:
        await trainer.train(run_job, look, (lambda name: None) if helpers is None else helpers.sampler.weights_changed)
    finally:
        if helpers is not None and isinstance(helpers.sampler, VllmRollouts):
            await helpers.sampler.close()


def losses(session: Session, branch: str = MAIN) -> dict[str, list[tuple[int, float]]]:
    """All metrics of the loop that training decides, by name."""
    names = [n for n in session.records.metric_names(branch) if not n.startswith("seconds")]
    return {name: session.records.metric(branch, name) for name in names}
