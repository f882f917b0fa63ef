"""The models of a run, and how hard their endpoints may be driven."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, model_validator

from ethos.store.config.section import Section

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


class EndpointConfig(Section):
    """Where the key of one endpoint is, how hard it may be driven, how long it is waited for, and what it charges."""

    name: str
    """The model, as it is named above."""
    key_variable: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable that holds its key. None: OPENAI_API_KEY or ANTHROPIC_API_KEY."""
    concurrency: Annotated[int, Field(ge=1)] = 256
    """Requests at once, at most: there are as many as make the endpoint faster."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """None: as many as are answered."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Of prompts and replies; a reply counts as long as it may be until it is there. None: no limit."""
    attempts: Annotated[int, Field(ge=1)] = 6
    """How often a call that failed for now is made."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that one answer may take."""
    prompt_usd_per_mtok: Annotated[float, Field(ge=0)] = 0.0
    """US dollars for a million prompt tokens."""
    completion_usd_per_mtok: Annotated[float, Field(ge=0)] = 0.0
    """US dollars for a million completion tokens."""


class VoiceConfig(Section):
    """A model that draws rows in the teacher's place, beside others."""

    name: str
    """As the catalogue names it."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the draws is its weight over the sum of all."""


class ModelsConfig(Section):
    """Which model plays which part, as the catalogue names them (`ethos models list`)."""

    student: str = "embedded:smollm2-135m"
    """The model that is trained."""
    teacher: str = "embedded:qwen2.5-coder-1.5b"
    """Writes scenarios and rows, with the spec's frame in its prompt."""
    chorus: tuple[VoiceConfig, ...] = ()
    """Models that draw rows together, in the teacher's place; it reads clauses and writes scenarios all the same. One
    that goes down is set aside. Empty: the teacher draws them."""
    judge: str = "embedded:qwen2.5-coder-1.5b"
    """Judges rows and looks."""
    sealed_judge: str | None = None
    """Judges sealed scenarios. None: the same model as `judge`, asked in other words; the report then says so."""
    distillation_teacher: str | None = None
    """The larger model with the student's tokenizer that `distillation` learns from; it has to run here. None: the
    student before training, which sees a row's frame in its prompt."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the in-process engine; 0 means all cores that the process may run on."""
    endpoints: tuple[EndpointConfig, ...] = ()
    """Keys, limits and prices of the models above that answer over the network; what isn't listed has the defaults."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every model that plays a part, once."""
        return tuple(dict.fromkeys((self.student, *self.helpers)))

    @property
    def helpers(self) -> tuple[str, ...]:
        """Every model beside the student, once; the student itself if it plays another part too."""
        voices = (voice.name for voice in self.chorus)
        played = (self.teacher, *voices, self.judge, self.sealed_judge, self.distillation_teacher)
        return tuple(dict.fromkeys(name for name in played if name is not None))

    def endpoint(self, name: str) -> EndpointConfig:
        """Key, limits and price of one model."""
        return next((e for e in self.endpoints if e.name == name), EndpointConfig(name=name))

    @model_validator(mode="after")
    def _each_voice_is_another(self) -> ModelsConfig:
        if len({voice.name for voice in self.chorus}) < len(self.chorus):
            raise ValueError("chorus: a model is listed twice; list each once, with a larger weight")
        return self

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
