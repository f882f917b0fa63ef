"""What a run would do, need and take, from its config and spec alone: no model is loaded, nothing is fetched.

Tokens are estimated from the config's limits and typical lengths, time from a rate for each core: sizes to plan with,
not promises.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ethos.judging import near_misses
from ethos.judging.checks import require_checks
from ethos.judging.clause_reading import DRAWS, QUESTIONS, wants_case, wants_questions
from ethos.judging.labelled import load_calibration
from ethos.models.catalogue import Entry, require_weights, resolve
from ethos.spec.parse import parse_spec
from ethos.spec.scenarios import POOLS
from ethos.spec.types import Clause
from ethos.store.config import RunConfig
from ethos.synthesis.sizes import chosen_clauses, plan_scenarios

GFLOPS_PER_CORE = 350.0  # bf16 with what surrounds the products, between two 2-core machines: with AMX and without
TRAINING_BYTES_PER_PARAMETER = 22  # bf16 weight, fp32 master, two gradients (an objective's, the step's), two moments
SAVED_BYTES_PER_PARAMETER = 12  # fp32 master, two moments
EXPORTED_BYTES_PER_PARAMETER = 4  # at most: bf16 where the CPU has it
FROZEN_BYTES_PER_PARAMETER = 4  # bf16 weight, and its packed copy
KV_TOKENS = 96 * 1024  # the most that the slots of an engine hold
UNKNOWN_PARAMETERS = 1_500_000_000  # assumed where only loading would tell

MESSAGE_TOKENS, MESSAGE_PROMPT_TOKENS, SCREENING_TOKENS = 45, 60, 50
TOPIC_TOKENS, REPLY_PROMPT_TOKENS, VERDICT_TOKENS, READING_TOKENS = 12, 80, 100, 40
CALIBRATION_REPLIES, CALIBRATION_REPLY_TOKENS, JUDGES = 48, 35, 2


@dataclass(frozen=True, slots=True)
class Work:
    """What one role does in a run."""

    role: str
    model: str
    calls: int
    tokens: int  # computed: prompts not shared with others, and replies
    seconds: float | None  # None for an endpoint


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run."""

    clauses: int
    prompts: Mapping[str, int]  # scenarios by pool
    work: tuple[Work, ...]
    download_bytes: int
    memory_bytes: int
    available_bytes: int
    disk_bytes: int  # of the run's folder at its largest

    @property
    def fits(self) -> bool:
        """Whether the memory of this machine is enough."""
        return self.memory_bytes <= self.available_bytes

    @property
    def seconds(self) -> float:
        """Time of all local work."""
        return sum(work.seconds or 0.0 for work in self.work)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "fits": self.fits, "seconds": self.seconds}

    def lines(self) -> list[str]:
        """For a person."""
        pools = ", ".join(f"{count} {pool}" for pool, count in self.prompts.items())
        lines = [f"{self.clauses} clauses; prompts: {pools}"]
        for work in self.work:
            time = "at the endpoint's pace" if work.seconds is None else f"about {_minutes(work.seconds)}"
            lines.append(f"{work.role} ({work.model}): {work.calls:,} calls, {work.tokens:,} tokens, {time}")
        verdict = "fits" if self.fits else "does NOT fit: name a smaller model, or training.method: lora"
        lines.append(f"memory: about {_gib(self.memory_bytes)} of {_gib(self.available_bytes)}, which {verdict}")
        lines.append(f"disk: up to {_gib(self.disk_bytes)}, nearly all of it checkpoints")
        if self.download_bytes:
            lines.append(f"weights to fetch, if they aren't here yet: {_gib(self.download_bytes)}")
        lines.append(f"time: about {_minutes(self.seconds)} of local compute, once the weights are here")
        return lines


def plan(config: RunConfig, base: Path) -> Plan:
    """The plan of a run whose config lies in the folder `base`. Raises EthosError as launching would."""
    spec = parse_spec(config.spec)
    clauses = chosen_clauses(config, spec)
    config.pool_floor(clauses)
    names = config.models
    entries = {name: resolve(name, base) for name in names.names}
    require_weights(entries[names.student], "models.student")
    require_checks(spec)
    load_calibration(config.calibration, spec)
    prompts: dict[str, int] = {
        pool: sum(
            p.prompts[pool] + p.contrasts.get(pool, 0) for p in (plan_scenarios(c, config.scenarios) for c in clauses)
        )
        for pool in POOLS
        if pool != "gate"
    }
    work = (
        _teacher_work(config, entries[names.teacher], clauses, prompts),
        _judge_work(config, entries[names.judge], clauses),
        _student_work(config, entries[names.student], prompts),
    )
    return Plan(
        len(clauses),
        prompts,
        work,
        sum(entry.download_bytes or 0 for entry in entries.values()),
        _memory(config, entries),
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        _disk(config, entries[names.student]),
    )


def _teacher_work(config: RunConfig, entry: Entry, clauses: Sequence[Clause], prompts: Mapping[str, int]) -> Work:
    messages, synthesis = sum(prompts.values()), config.synthesis
    topics = sum(sum(plan_scenarios(c, config.scenarios).topics.values()) for c in clauses)
    draws = prompts["train"] * synthesis.demonstrations.draws
    calls = 2 * messages + draws + synthesis.documents.count + topics // 10
    tokens = messages * (MESSAGE_TOKENS + MESSAGE_PROMPT_TOKENS + SCREENING_TOKENS) + 2 * topics * TOPIC_TOKENS
    tokens += prompts["train"] * REPLY_PROMPT_TOKENS + draws * synthesis.demonstrations.max_tokens // 2
    tokens += synthesis.documents.count * synthesis.documents.max_tokens
    read = sum(wants_case(c) or wants_questions(c) for c in clauses)
    calls += read * (1 + DRAWS)
    tokens += read * (1 + DRAWS) * READING_TOKENS
    if config.calibration is None:
        drawn = sum(c.judged for c in clauses) * near_misses.SCENARIOS * 2 * near_misses.DRAWS
        calls += 3 * drawn  # each is scored twice
        tokens += 3 * drawn * CALIBRATION_REPLY_TOKENS
    cases = sum(c.tier == "must" and c.applies == "sometimes" for c in clauses) * prompts["train"]
    calls += cases
    tokens += cases * SCREENING_TOKENS
    return _work("teacher", entry, calls, tokens, config)


def _judge_work(config: RunConfig, entry: Entry, clauses: Sequence[Clause]) -> Work:
    scenarios, judged = config.scenarios, sum(c.judged for c in clauses)
    arms = 4 if config.placebo else 3
    looks = config.training.steps // config.knobs.taste_every + 1
    verdicts_per_clause = (
        scenarios.train_per_clause * config.synthesis.demonstrations.draws
        + scenarios.taste_per_clause * 3
        + looks * config.knobs.taste_prompts
        + (scenarios.sealed_per_judged_clause + scenarios.contrast_per_clause) * arms
    )
    tried = sum((QUESTIONS + 1) / 2 if wants_questions(c) else 1 for c in clauses if c.judged)  # on half of the replies
    verdicts = judged * verdicts_per_clause + round(tried * CALIBRATION_REPLIES * JUDGES)
    return _work("judge", entry, verdicts, verdicts * VERDICT_TOKENS, config)


def _student_work(config: RunConfig, entry: Entry, prompts: Mapping[str, int]) -> Work:
    arms = 4 if config.placebo else 3
    reply = config.tasting.max_tokens // 2
    replies = prompts["sealed"] * arms + prompts["taste"] * 3 + 2 * config.tasting.questions
    trained_rows = config.training.steps * config.knobs.batch_rows * (2 if config.placebo else 1)
    row_tokens = REPLY_PROMPT_TOKENS + config.synthesis.demonstrations.max_tokens
    tokens = replies * (REPLY_PROMPT_TOKENS + reply) + 3 * trained_rows * row_tokens  # forward and twice that backward
    return _work("student", entry, replies, tokens, config)


def _work(role: str, entry: Entry, calls: int, tokens: int, config: RunConfig) -> Work:
    if entry.kind != "local":
        return Work(role, entry.name, calls, tokens, None)
    cores = config.models.threads or os.cpu_count() or 1
    flops = 2 * _parameters(entry) * tokens
    return Work(role, entry.name, calls, tokens, flops / (GFLOPS_PER_CORE * 1e9 * cores))


def _memory(config: RunConfig, entries: Mapping[str, Entry]) -> int:
    local = {name: entry for name, entry in entries.items() if entry.kind == "local"}
    frozen = sum(_parameters(entry) * FROZEN_BYTES_PER_PARAMETER for entry in local.values())
    cache = sum(e.shape.kv_bytes_per_token() * KV_TOKENS for e in local.values() if e.shape is not None)
    student = _parameters(entries[config.models.student])
    trained = student * (TRAINING_BYTES_PER_PARAMETER if config.training.method == "full" else 3)
    return frozen + cache + trained


def _disk(config: RunConfig, student: Entry) -> int:
    """A new checkpoint is whole before the oldest goes; the placebo keeps its own."""
    full = config.training.method == "full"
    saved = (config.training.keep_checkpoints + 1) * SAVED_BYTES_PER_PARAMETER if full else 0
    return _parameters(student) * (saved + EXPORTED_BYTES_PER_PARAMETER) * (2 if config.placebo else 1)


def _parameters(entry: Entry) -> int:
    return UNKNOWN_PARAMETERS if entry.shape is None else entry.shape.parameters


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
