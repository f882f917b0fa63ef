"""The sections of a run's config, and the knobs among their fields.

What may change while a run trains are the knobs: the fields of `Knobs`, each with its bounds, its meaning and its
liveness on the field itself. What is in force at a step is the launch value and the journal entries up to it
(`store/journal.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ethos.spec.scenarios import Context, Pool

REMOTE = ("openai:", "anthropic:")
"""How the names of models begin that answer over the network."""

_USER = re.compile(
    r"^((?:openai:|anthropic:)?(?:\w+://)?)(?:.*@(?=.*#)|[^#]*@)"
)  # a model's own @ is behind the last #
_QUERY = re.compile(r"\?(?:.*(?=#)|.*)")


def without_secrets(name: str) -> str:
    """A model's name as it may be shown: what a URL says of a user, and what it asks with, is left out."""
    if "//" not in name and not name.startswith(REMOTE):
        return name  # a revision of the hub stands behind an @ too
    return _QUERY.sub("…", _USER.sub(r"\1…", name))


Liveness = Literal["live", "next-sample"]
ObjectiveName = Literal["documents", "demonstrations"]
OBJECTIVES: tuple[ObjectiveName, ...] = ("documents", "demonstrations")


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("holds a NUL character, which no path can; name the file")
    return path


FilePath = Annotated[Path, AfterValidator(_without_nul)]


class Section(BaseModel):
    """A part of the config: immutable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _knob(default: Any, live: Liveness, **bounds: Any) -> Any:
    return Field(default, json_schema_extra={"live": live}, **bounds)


class MixtureKnobs(Section):
    """Peak weights of the objectives; a stage scales them. A weight is the coefficient on the objective's own mean, and
    a step's rows are shared out in proportion to the weights.
    """

    documents: float = _knob(1.0, "live", ge=0, le=10)
    """Next-token loss on documents and on the spec's own text."""
    demonstrations: float = _knob(1.0, "live", ge=0, le=10)
    """Loss on the assistant's tokens of demonstrations."""


class Knobs(Section):
    """Everything that may change while a run trains, as one immutable value, read once a step."""

    lr: float = _knob(1e-4, "live", ge=0, le=1e-2)
    """Peak learning rate; the schedule scales it."""
    clip: float = _knob(1.0, "live", gt=0, le=1e6)
    """Largest norm of the whole gradient; above it the gradient is scaled down."""
    weight_decay: float = _knob(0.0, "live", ge=0, le=1)
    """AdamW's decoupled weight decay."""
    batch_rows: int = _knob(8, "live", ge=1, le=4096)
    """Rows in one optimizer step, over all objectives."""
    taste_every: int = _knob(20, "live", ge=1, le=100_000)
    """Steps between two looks."""
    taste_prompts: int = _knob(2, "next-sample", ge=1, le=1000)
    """Taste scenarios a clause in one look; the first is in every look, the others rotate."""
    mixture: MixtureKnobs = Field(default_factory=MixtureKnobs)


class EndpointConfig(Section):
    """How hard one endpoint may be driven, how long it is waited for, and what it charges."""

    name: str
    """The model, as it is named above."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests at once."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """None: as many as are answered."""
    attempts: Annotated[int, Field(ge=1)] = 6
    """How often a call that failed for now is made."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that one answer may take."""
    prompt_usd_per_mtok: Annotated[float, Field(ge=0)] = 0.0
    """US dollars for a million prompt tokens."""
    completion_usd_per_mtok: Annotated[float, Field(ge=0)] = 0.0
    """US dollars for a million completion tokens."""


class ModelsConfig(Section):
    """Which model plays which part, as the catalogue names them (`ethos models list`)."""

    student: str = "embedded:smollm2-135m"
    """The model that is trained."""
    teacher: str = "embedded:qwen2.5-coder-1.5b"
    """Writes scenarios and rows, with the spec's frame in its prompt."""
    judge: str = "embedded:qwen2.5-coder-1.5b"
    """Judges rows and looks."""
    sealed_judge: str | None = None
    """Judges sealed scenarios. None: the same model as `judge`, asked in other words; the report then says so."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the in-process engine; 0 means all cores."""
    endpoints: tuple[EndpointConfig, ...] = ()
    """Limits and prices of the models above that answer over the network; what isn't listed has the defaults."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every model that plays a part, once."""
        return tuple(dict.fromkeys((self.student, *self.helpers)))

    @property
    def helpers(self) -> tuple[str, ...]:
        """Every model beside the student, once; the student itself if it plays another part too."""
        return tuple(dict.fromkeys((self.teacher, self.judge, self.sealed_judge or self.judge)))

    def endpoint(self, name: str) -> EndpointConfig:
        """Limits and price of one model."""
        return next((e for e in self.endpoints if e.name == name), EndpointConfig(name=name))

    @model_validator(mode="after")
    def _endpoints_play_a_part(self) -> ModelsConfig:
        for endpoint in self.endpoints:
            if endpoint.name not in self.names:
                parts = ", ".join(map(without_secrets, self.names))
                raise ValueError(f"endpoints: {without_secrets(endpoint.name)} plays no part; use one of {parts}")
            if not endpoint.name.startswith(REMOTE):
                shown = without_secrets(endpoint.name)
                raise ValueError(f"endpoints: {shown} runs here and needs neither limits nor a price; remove it")
        if len({endpoint.name for endpoint in self.endpoints}) < len(self.endpoints):
            raise ValueError("endpoints: a name is listed twice; list each once")
        return self


class ContextConfig(Section):
    """A setting in which a message reaches the character."""

    name: str
    instruction: str
    """Tells the teacher how such a message is written."""
    reserved: bool = False
    """Met in the sealed pool only; two contexts are reserved."""
    fewest_lines: Annotated[int, Field(ge=1)] = 1
    """Lines that a message has at least, empty ones not counted."""
    most_lines: Annotated[int, Field(ge=1)] | None = None
    fewest_sentences: Annotated[int, Field(ge=1)] = 1
    most_sentences: Annotated[int, Field(ge=1)] | None = None
    lower_case: bool = False
    """A message is put in lower case, however the teacher wrote it."""

    def to_context(self) -> Context:
        """As `spec/` knows it."""
        return Context(**self.model_dump())


DEFAULT_CONTEXTS = (
    ContextConfig(
        name="chat", instruction="a short chat message of one or two sentences", most_lines=1, most_sentences=2
    ),
    ContextConfig(name="email", instruction="a short email with a greeting and a sign-off", fewest_lines=3),
    ContextConfig(
        name="forum",
        instruction="a post of two or three sentences in an online forum, with some background",
        most_lines=2,
        fewest_sentences=2,
    ),
    ContextConfig(
        name="phone",
        instruction="a hurried text message from a phone, all lower case",
        reserved=True,
        most_lines=1,
        lower_case=True,
    ),
    ContextConfig(
        name="story",
        instruction="a message from someone who tells first what happened today, then asks",
        reserved=True,
        most_lines=2,
        fewest_sentences=2,
    ),
)


class ScenariosConfig(Section):
    """How many prompts each clause gets in each pool. A pool needs 20 prompts over all clauses, and has to be planned
    with at least 24: some may fail to be written.
    """

    contexts: tuple[ContextConfig, ...] = DEFAULT_CONTEXTS
    train_per_clause: Annotated[int, Field(ge=1)] = 16
    taste_per_clause: Annotated[int, Field(ge=1)] = 5
    gate_per_clause: Annotated[int, Field(ge=1)] = 5
    """Topics are put by for them; the prompts are written when they are first needed."""
    sealed_per_checked_clause: Annotated[int, Field(ge=1)] = 20
    sealed_per_judged_clause: Annotated[int, Field(ge=1)] = 40
    contrast_per_clause: Annotated[int, Field(ge=0)] = 4
    """Contrast scenarios of a clause in the pool train, and in sealed where it can be told whether it is applied."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8

    @model_validator(mode="after")
    def _two_contexts_are_reserved(self) -> ScenariosConfig:
        reserved = sum(c.reserved for c in self.contexts)
        if reserved < 2 or reserved == len(self.contexts):
            raise ValueError(
                f"contexts: {reserved} of {len(self.contexts)} are reserved; "
                "reserve two for the sealed pool (`reserved: true`) and leave at least one to train in"
            )
        names = [c.name for c in self.contexts]
        if len(set(names)) < len(names):
            raise ValueError("contexts: two have the same name; give each its own")
        return self

    def count(self, pool: Pool, judged: bool) -> int:
        """Prompts of one clause in a pool."""
        if pool == "sealed":
            return self.sealed_per_judged_clause if judged else self.sealed_per_checked_clause
        return {"train": self.train_per_clause, "taste": self.taste_per_clause, "gate": self.gate_per_clause}[pool]


class DocumentsConfig(Section):
    """The `documents` recipe."""

    count: Annotated[int, Field(ge=0)] = 30
    """Documents the teacher writes, spread over the clauses."""
    spec_text: bool = True
    """Whether the spec's own text is trained on, a clause a row."""
    max_tokens: Annotated[int, Field(ge=32)] = 320
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.9


class DemonstrationsConfig(Section):
    """The `demonstrations` recipe."""

    draws: Annotated[int, Field(ge=1, le=64)] = 2
    """Replies drawn for a prompt at a time."""
    max_draws: Annotated[int, Field(ge=1, le=64)] = 6
    """Replies drawn for a prompt in all, as long as fewer than `kept` distinct ones pass."""
    kept: Annotated[int, Field(ge=1, le=64)] = 1
    """Rows of one prompt that are wanted: distinct replies that pass, the best first."""
    max_tokens: Annotated[int, Field(ge=16)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    replay_rows: Annotated[int, Field(ge=0)] = 40
    """The student's own replies to plain prompts, kept in the mixture against forgetting."""

    @model_validator(mode="after")
    def _all_draws_hold_those_at_a_time(self) -> DemonstrationsConfig:
        if self.draws > self.max_draws:
            raise ValueError(
                f"demonstrations: draws ({self.draws} at a time) exceeds max_draws ({self.max_draws} in all); "
                "raise max_draws, or lower draws"
            )
        return self


class SynthesisConfig(Section):
    """What the teacher makes."""

    frame_tokens: Annotated[int, Field(ge=64)] = 400
    """Budget of the frame in a prompt."""
    documents: DocumentsConfig = DocumentsConfig()
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()


class LoraConfig(Section):
    """Adapters, as `peft` makes them."""

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32


class StageConfig(Section):
    """A part of the run with its own share of the mixture's peaks."""

    name: str
    share: Annotated[float, Field(gt=0, le=1)]
    """Part of the run's steps."""
    documents: Annotated[float, Field(ge=0, le=1)] = 1.0
    demonstrations: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _something_is_trained(self) -> StageConfig:
        if self.documents == 0 and self.demonstrations == 0:
            raise ValueError(f"stage {self.name}: every objective is at 0; give at least one a share above 0")
        return self


class TrainingConfig(Section):
    """How the student is trained."""

    method: Literal["full", "lora"] = "full"
    lora: LoraConfig = LoraConfig()
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Compute precision; masters are fp32 in any case. auto: bf16 where the hardware has it and is no slower in it."""
    steps: Annotated[int, Field(ge=1)] = 120
    micro_batch_tokens: Annotated[int, Field(ge=64)] = 2048
    """Largest packed micro-batch; more rows are accumulated."""
    context_tokens: Annotated[int, Field(ge=32)] = 1024
    """Longest row; a longer document is split, a longer chat is refused and counted."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the steps over which the rate rises to its peak."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after the warm-up."""
    stages: tuple[StageConfig, ...] = (
        StageConfig(name="documents", share=0.25, documents=1.0, demonstrations=0.0),
        StageConfig(name="demonstrations", share=0.75, documents=0.25, demonstrations=1.0),
    )
    checkpoint_every: Annotated[int, Field(ge=1)] = 40
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _stages_fill_the_run(self) -> TrainingConfig:
        total = sum(s.share for s in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"stages: their shares add up to {total:g}; make them add up to 1")
        if self.steps < len(self.stages):
            raise ValueError(f"stages: there are {len(self.stages)}, and {self.steps} steps; give each stage a step")
        return self

    def first_step(self, place: int) -> int:
        """The first step of the stage at that place in `stages`, or after the last the number of steps.

        Shares are rounded to whole steps, but no stage gets less than one.
        """
        rounded = round(sum(stage.share for stage in self.stages[:place]) * self.steps)
        return min(max(rounded, place), self.steps - len(self.stages) + place)


class TastingConfig(Section):
    """What is measured while the student trains, and how it answers."""

    max_tokens: Annotated[int, Field(ge=8)] = 120
    """Longest reply of a probe."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    questions: Annotated[int, Field(ge=20)] = 500
    """Generated questions with checkable answers; those in the base's middle range are the canary."""


class BudgetConfig(Section):
    """Limits past which no new call is made; what was paid for is kept. None: no limit."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    """Prompt and completion tokens of teachers and judges."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Of all sittings together, pauses included."""
    usd: Annotated[float, Field(gt=0)] | None = None
    """By the prices in `models.endpoints`."""
