"""What a run would do, need and take, from its config and spec alone: no model is loaded, nothing is fetched.

Calls and tokens are those that the ledger and a budget will count, as `workload.py` expects them; time comes from the
tokens that are computed here, at a rate for each core; on CUDA it isn't told. Sizes to plan with, not promises.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ethos.judging.checks import require_checks
from ethos.judging.labelled import load_calibration
from ethos.models.catalogue import Entry, require_weights, resolve
from ethos.models.gpu import Gpu, find_gpu
from ethos.models.memory import KEPT_PROMPT_BYTES, SLOTS, STUDENT_KEPT_PROMPT_BYTES, TOKENS_A_SLOT
from ethos.models.sizing import sized
from ethos.models.templates import TEMPLATE
from ethos.process import available_cores
from ethos.runs.training_work import training_work
from ethos.runs.workload import Workload
from ethos.spec.parse import parse_spec
from ethos.spec.scenarios import POOLS
from ethos.store.config.run import RunConfig
from ethos.store.ledger import CHORUS, POLICY, STUDENT, UNBUDGETED
from ethos.store.written_rows import load_written_rows
from ethos.synthesis.expected import ASSUMED, Calls, sums
from ethos.synthesis.recipes import recipes_of
from ethos.synthesis.sizes import chosen_clauses
from ethos.tasting.canaries import replay_prompts

BF16_GFLOPS_PER_CORE = 350.0  # with what surrounds the products, between two 2-core machines: with AMX and without
FP32_GFLOPS_PER_CORE = 85.0
TRAINING_BYTES_PER_PARAMETER = 24  # bf16 weight, packed too; fp32 master, two gradients (one objective's), two moments
ADAPTED_BYTES_PER_PARAMETER = 1  # adapters with all that is theirs
SAVED_BYTES_PER_PARAMETER = 12  # fp32 master, two moments
EXPORTED_BYTES_PER_PARAMETER = 4  # at most: bf16 where the CPU has it
FROZEN_BYTES_PER_PARAMETER = 2.6  # bf16 weight; that of the output twice, as it lies and packed
BF16_BYTES_PER_PARAMETER = 2  # the same on a CUDA device
FP32_BYTES_PER_PARAMETER = 4  # of a frozen model where bf16 isn't fast
PACKED_BYTES_PER_PARAMETER = 2  # of those above what a CPU needs to multiply faster; a CUDA device has no such copy
PROCESS_BYTES = 2**30  # libraries, what freed memory is kept
UNKNOWN_PARAMETERS = 1_500_000_000  # assumed where only loading would tell

_MEMINFO, _CGROUP_LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Work:
    """What one role is asked in a run, as the ledger counts it if nothing is in the response cache."""

    role: str
    model: str
    calls: int
    tokens: int  # whole prompts and replies
    most_calls: int
    most_tokens: int
    seconds: float | None  # None for an endpoint, and on CUDA


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run."""

    clauses: int
    prompts: Mapping[str, int]  # scenarios by pool
    work: tuple[Work, ...]
    training_tokens: int  # forward, of all arms
    slots: Mapping[str, int]  # rows, pairs and prompts of all steps by objective
    training_seconds: float | None  # None on CUDA
    download_bytes: int
    memory_bytes: int
    available_bytes: int
    gpu: str | None  # the CUDA device whose memory that is; None for the machine's own
    disk_bytes: int  # of the run's folder at its largest
    unsized: tuple[str, ...]  # local models whose size can't be known yet; it is assumed

    @property
    def fits(self) -> bool:
        """Whether the memory of this machine, or of its CUDA device, is enough."""
        return self.memory_bytes <= self.available_bytes

    @property
    def seconds(self) -> float | None:
        """Time of all local work; None on CUDA, whose pace isn't known beforehand."""
        if self.training_seconds is None:
            return None
        return self.training_seconds + sum(work.seconds or 0.0 for work in self.work)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "fits": self.fits, "seconds": self.seconds}

    def lines(self) -> list[str]:
        """For a person."""
        pools = ", ".join(f"{count} {pool}" for pool, count in self.prompts.items())
        lines = [
            f"{self.clauses} clauses; prompts: {pools}",
            "calls and tokens if the response cache holds none of them, as ledger and budget count them:",
        ]
        lines += [
            f"  {work.role} ({work.model}): about {work.calls:,} calls and {work.tokens:,} tokens, "
            f"at most {work.most_calls:,} and {work.most_tokens:,}; {_pace(work.seconds, self.gpu)}"
            for work in self.work
        ]
        budgeted = [work for work in self.work if work.role not in UNBUDGETED]
        expected, most = sum(work.tokens for work in budgeted), sum(work.most_tokens for work in budgeted)
        lines.append(f"  what budget.tokens counts: about {expected:,}, at most {most:,}")
        lines.append(f"  {ASSUMED}")
        slots = ", ".join(f"{count:,} {name}" for name, count in self.slots.items() if count)
        lines.append(f"training: {self.training_tokens:,} tokens ({slots}), {_pace(self.training_seconds, self.gpu)}")
        verdict = "fits" if self.fits else "does NOT fit: name a smaller model, or training.method: lora"
        where = f" on {self.gpu}" if self.gpu else ""
        lines.append(f"memory: about {_gib(self.memory_bytes)} of {_gib(self.available_bytes)}{where}, which {verdict}")
        lines += [
            f"  {name}: its size isn't known yet, and counted as {UNKNOWN_PARAMETERS / 1e9:g} billion parameters, "
            f"without activations and caches; `ethos models fetch {name}`, then ask again"
            for name in self.unsized
        ]
        lines.append(f"disk: up to {_gib(self.disk_bytes)}, nearly all of it checkpoints")
        if self.download_bytes:
            lines.append(f"weights to fetch, if they aren't here yet: {_gib(self.download_bytes)}")
        if self.seconds is not None:
            lines.append(
                f"time: about {_minutes(self.seconds)} of local compute at {_gflops_per_core('auto'):.0f} GFLOP/s a "
                "core, once the weights are here"
            )
        return lines


def plan(config: RunConfig, base: Path) -> Plan:
    """The plan of a run whose config lies in the folder `base`. Raises EthosError as launching would."""
    spec = parse_spec(config.spec)
    clauses = chosen_clauses(config, spec)
    config.require_pool_floor(clauses)
    names = config.models
    entries = {name: sized(resolve(name, base, names.endpoint(name).key_variable)) for name in names.names}
    require_weights(entries[names.student], "models.student")
    if names.distillation_teacher is not None:
        require_weights(entries[names.distillation_teacher], "models.distillation_teacher")
    require_checks(spec)
    labelled = load_calibration(config.calibration, spec)
    judges = {"judge": entries[names.judge], "sealed judge": entries[names.sealed_judge or names.judge]}
    models = {"teacher": entries[names.teacher], **judges}
    recipes = recipes_of(config.synthesis, replay_prompts())
    workload = Workload(config, spec, clauses, models, Counter(reply.clause_id for reply in labelled), recipes)
    student = entries[names.student]
    own_rows = load_written_rows(config.rows, spec)
    training = training_work(config, own_rows, workload.pairs)
    work = (
        _work("teacher", models["teacher"], workload.teacher(), config),
        *(_work(CHORUS, entries[voice.name], workload.voice(voice.name), config) for voice in names.chorus),
        _work("judge", models["judge"], workload.judge(), config),
        _work("sealed judge", models["sealed judge"], workload.sealed_judge(), config),
        _work(STUDENT, student, workload.student(), config),
        _work(POLICY, student, (*workload.policy(), *training.rollouts), config),
    )
    trained_tokens = training.trained_tokens * (2 if config.placebo else 1)
    precision = config.training.precision
    training_seconds = _seconds(student, 3 * trained_tokens, config, precision)  # forward, and twice that backward
    training_seconds += _seconds(student, training.reference_tokens, config, precision)
    training_seconds += _seconds(entries[names.distillation_teacher or names.student], training.teacher_tokens, config)
    gpu = find_gpu()
    return Plan(
        len(clauses),
        {pool: workload.prompts(pool) for pool in POOLS if pool != "gate"},
        work if gpu is None else tuple(replace(asked, seconds=None) for asked in work),
        trained_tokens,
        training.slots,
        None if gpu is not None else training_seconds,
        sum(entry.download_bytes or 0 for entry in entries.values()),
        _memory(config, entries, gpu),
        available_memory() if gpu is None else gpu.free_bytes,
        None if gpu is None else gpu.name,
        _disk(config, student, has_reward_model=training.slots.get("reward_model", 0) > 0),
        tuple(name for name, entry in entries.items() if entry.kind == "local" and entry.shape is None),
    )


def _work(role: str, entry: Entry, calls: Iterable[Calls], config: RunConfig) -> Work:
    found = sums(calls)
    seconds = _seconds(entry, found.computed_tokens, config) if entry.kind == "local" else None
    return Work(role, entry.name, found.calls, found.tokens, found.most_calls, found.most_tokens, seconds)


def _seconds(entry: Entry, tokens: int, config: RunConfig, precision: str = "auto") -> float:
    """Time to compute so many tokens in this process."""
    cores = config.models.threads or available_cores()
    return 2 * _parameters(entry) * tokens / (_gflops_per_core(precision) * 1e9 * cores)


def _gflops_per_core(precision: str) -> float:
    return BF16_GFLOPS_PER_CORE if _is_bf16(precision) and _multiplies_bf16() else FP32_GFLOPS_PER_CORE


def _is_bf16(precision: str) -> bool:
    return _multiplies_bf16() if precision == "auto" else precision == "bf16"


@cache
def _multiplies_bf16() -> bool:
    """Whether the processor says that it does; how fast, only a trial tells, which needs torch."""
    try:
        return bool({"amx_bf16", "avx512_bf16"} & set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()))
    except OSError:  # not Linux
        return False


def available_memory() -> int:
    """Bytes that are free or can be freed, within the limit of a container."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path, pattern, unit in ((_MEMINFO, r"MemAvailable:\s+(\d+) kB", 1024), (_CGROUP_LIMIT, r"(\d+)", 1)):
        try:
            told = re.search(pattern, path.read_text(encoding="utf-8"))
        except OSError:  # not Linux, or in no container
            continue
        found += [int(told[1]) * unit] if told else []
    return min(found)


def _memory(config: RunConfig, entries: Mapping[str, Entry], gpu: Gpu | None) -> int:
    """Of what `ModelShelf` loads: an engine for each name, system message and precision, and the policy."""
    names, precision = config.models, config.training.precision
    auto = gpu is not None or _is_bf16("auto")  # a CUDA device multiplies bf16, or is too old to be asked about
    helpers = {(name, TEMPLATE, auto) for name in names.helpers if entries[name].kind == "local"}
    student = (names.student, config.system_message, auto if precision == "auto" else _is_bf16(precision))
    frozen = helpers | {student}
    weights = sum(_frozen_bytes(entries[name], is_bf16, gpu) for name, _, is_bf16 in frozen)
    # of the student's own engines one answers at a time, and one at rest has given its slots back
    slots = sum(_slot_bytes(entries[name], is_bf16) for name, _, is_bf16 in (*helpers, student))
    kept = KEPT_PROMPT_BYTES * len(helpers) + STUDENT_KEPT_PROMPT_BYTES * len(frozen - helpers)
    activations = _activation_bytes(config, entries[names.student], is_bf16=student[2])
    policy = _trained_bytes(config, entries[names.student], is_bf16=student[2], gpu=gpu) + activations
    policy += STUDENT_KEPT_PROMPT_BYTES  # it keeps prompts too
    return weights + slots + kept + policy + PROCESS_BYTES


def _trained_bytes(config: RunConfig, student: Entry, *, is_bf16: bool, gpu: Gpu | None) -> int:
    """Of the policy's weights and all that trains them; adapters lie on those of the student before training, but where
    a CPU has packed them.
    """
    packed = PACKED_BYTES_PER_PARAMETER if gpu is None else 0
    if config.training.method == "full":
        return _parameters(student) * (TRAINING_BYTES_PER_PARAMETER - PACKED_BYTES_PER_PARAMETER + packed)
    own = BF16_BYTES_PER_PARAMETER + packed if gpu is None and is_bf16 else 0
    return _parameters(student) * (ADAPTED_BYTES_PER_PARAMETER + own)


def _activation_bytes(config: RunConfig, student: Entry, *, is_bf16: bool) -> int:
    """Of a micro-batch, until its backward pass; or the budget that cuts it."""
    if config.training.memory_gib is not None:
        return int(config.training.memory_gib * 2**30)
    each = 0 if student.shape is None else student.shape.activation_bytes_per_token(2 if is_bf16 else 4)
    return each * config.training.micro_batch_tokens


def _frozen_bytes(entry: Entry, is_bf16: bool, gpu: Gpu | None) -> int:
    bf16 = FROZEN_BYTES_PER_PARAMETER if gpu is None else BF16_BYTES_PER_PARAMETER
    return int(_parameters(entry) * (bf16 if is_bf16 else FP32_BYTES_PER_PARAMETER))


def _slot_bytes(entry: Entry, is_bf16: bool) -> int:
    return 0 if entry.shape is None else entry.shape.kv_bytes_per_token(2 if is_bf16 else 4) * SLOTS * TOKENS_A_SLOT


def _disk(config: RunConfig, student: Entry, *, has_reward_model: bool) -> int:
    """A new checkpoint is whole before the oldest goes; the placebo keeps its own."""
    full = config.training.method == "full"
    training = config.training
    kept = training.keep_checkpoints + 1 + (training.steps // training.keep_every if training.keep_every else 0)
    saved = kept * SAVED_BYTES_PER_PARAMETER if full else 0
    exported = EXPORTED_BYTES_PER_PARAMETER * (2 if has_reward_model else 1)
    return _parameters(student) * (saved + exported) * (2 if config.placebo else 1)


def _parameters(entry: Entry) -> int:
    return UNKNOWN_PARAMETERS if entry.shape is None else entry.shape.parameters


def _pace(seconds: float | None, gpu: str | None) -> str:
    if seconds is not None:
        return f"about {_minutes(seconds)}"
    return "at the endpoint's pace" if gpu is None else "time not told: it depends on device and endpoint"


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
