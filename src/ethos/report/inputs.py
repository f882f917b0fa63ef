"""What a report is made from: plain records of one run, gathered by whoever ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ethos.spec.types import Json, Tier
from ethos.statistics.perplexity import PassageLoss

Arm = Literal["base", "prompted", "trained", "placebo"]
ClauseKind = Literal["checked", "judged"]
Labels = Literal["file", "teacher"]  # who labelled the replies that a judge was tried on


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Which run it was. Dates are ISO 8601 in UTC."""

    name: str
    config_digest: str
    started: str
    finished: str
    seed: int
    scenario_seed: int
    steps: int  # optimizer steps trained


@dataclass(frozen=True, slots=True)
class ClauseFacts:
    """A clause as the report names it."""

    id: str
    text: str
    kind: ClauseKind
    tier: Tier


@dataclass(frozen=True, slots=True)
class SpecFacts:
    """The spec, with the clauses that the run worked on."""

    name: str
    digest: str
    clauses: tuple[ClauseFacts, ...]


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Which model played which part, as the config names them; `sealed_judge` judged the sealed readings."""

    student: str
    teacher: str
    judge: str
    sealed_judge: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the judge of the sealed readings tells good from bad on one judged clause."""

    clause_id: str
    judge: str
    auc: float
    interval: tuple[float, float]
    passed: bool
    question: str  # the one that was chosen
    cut: float  # odds at or above it pass, in [0, 1]
    labels: Labels


@dataclass(frozen=True, slots=True)
class Reading:
    """One arm's reply to one sealed scenario.

    For a contrast scenario, where the clause does not apply, an adherence of 1 says that it was applied all
    the same.
    """

    arm: Arm
    scenario_id: str
    clause_id: str
    topic: str  # of the clause; what is resampled
    context: str
    in_training_context: bool
    contrast: bool
    adherence: float | None  # 0 or 1; None: unscored
    reached: bool  # False: the prompt was too long for the model, so that there is no reply
    hollow: bool
    recitation: bool
    cut_off: bool  # at the most tokens that a reply may have
    prompt: str  # as text, without the system message
    reply: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Look:
    """Mean adherence to one clause on taste scenarios at a step; step 0 is the base."""

    step: int
    clause_id: str
    adherence: float
    n: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of training at a step; names of losses begin with `loss`."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class CanaryReading:
    """Capability of one model, on what the spec has nothing to do with; by prompt or passage id."""

    passages: Mapping[str, PassageLoss]
    questions: Mapping[str, bool]  # answered right
    refusals: Mapping[str, bool]  # refused a harmless request
    reply_words: float  # mean length of a reply


@dataclass(frozen=True, slots=True)
class PromptedVariant:
    """One way of putting the spec in the base's prompt, measured on taste scenarios."""

    name: str
    adherence: float
    n: int
    tokens: int  # of the system message
    chosen: bool


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of the journal, as shown."""

    step: int
    kind: str
    name: str
    old: Json
    new: Json
    origin: str
    author: str
    reason: str
    created: str


@dataclass(frozen=True, slots=True)
class RoleCost:
    """What the calls of one role cost. Tokens and money are of calls made, not of cached ones."""

    role: str
    calls: int  # cached ones included
    cached: int
    tokens: int
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class VoiceFacts:
    """What one model of a chorus did. Tokens and money are of calls made, not of cached ones."""

    model: str
    calls: int  # cached ones included
    rows: int  # that it wrote and that were kept
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything that `build_report` reads."""

    run: RunFacts
    spec: SpecFacts
    models: ModelNames
    same_judge: bool  # one model, whatever its names, chose training rows and judged sealed replies
    calibrations: tuple[Calibration, ...]
    sealed_readings: int  # of the scenario that was read most, over all runs, this one included
    readings: tuple[Reading, ...]
    looks: tuple[Look, ...]
    metrics: tuple[Metric, ...]
    base_canary: CanaryReading | None
    trained_canary: CanaryReading | None
    prompted_variants: tuple[PromptedVariant, ...]
    journal: tuple[JournalEntry, ...]
    cost: tuple[RoleCost, ...]
    seconds: float  # wall time of the run
    rows: Mapping[str, int]  # kind -> rows there were to train on
    sources: Mapping[str, int]  # clause id (with ", contrast" where it does not apply) or capability source -> rows
    rejected: Mapping[str, int]  # reason -> replies or rows
    loss_tokens: Mapping[str, int] = field(default_factory=dict)  # arm that was trained -> tokens that carried loss
    chorus: tuple[VoiceFacts, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unmeasurable: Mapping[str, str] = field(default_factory=dict)  # clause id -> reason, where the caller knows one
