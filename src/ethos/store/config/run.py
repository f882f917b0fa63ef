"""The launch config of a run, read from its file: `config.yaml` is written once and never again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ethos.errors import EthosError
from ethos.spec.scenarios import POOLS, SMALLEST_POOL
from ethos.spec.types import Clause
from ethos.store.config.data import ScenariosConfig, SynthesisConfig
from ethos.store.config.knobs import Knobs
from ethos.store.config.models import REMOTE, ModelsConfig, without_secrets
from ethos.store.config.section import FilePath, Section
from ethos.store.config.training import TrainingConfig

_PLACES = ("spec", "calibration", "rows", "synthesis.code_translation.functions")
_PLANNED_POOL = SMALLEST_POOL * 6 // 5  # a sixth of the prompts may fail to be written


class TastingConfig(Section):
    """What is measured while the student trains, and how it answers."""

    max_tokens: Annotated[int, Field(ge=8)] = 120
    """Longest reply of a probe."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """At which probes are answered; at 0 the likeliest token is taken."""
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


class RunConfig(Section):
    """A run as launched."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """That of the run's folder."""
    spec: FilePath
    """The spec, relative to the config file."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of rows, mixture and initial adapters. Scenarios, calibrations and canaries don't depend on it."""
    scenario_seed: Annotated[int, Field(ge=0)] = 0
    """Of topics, pools and prompts; runs with the same one are compared on the same scenarios."""
    clauses: tuple[str, ...] = ()
    """Ids of the clauses to work on; empty means all."""
    max_clauses: Annotated[int, Field(ge=1)] | None = None
    """At most so many clauses, spread over the whole spec; None means all."""
    system_message: str | None = None
    """What the student sees first, in training, tasting, chat and export. None: no system message at all, not even the
    one its template would insert; `template`: what its template inserts; any other text: that text."""
    placebo: bool = False
    """Also train a placebo arm: as many loss tokens of the base's own replies and of unrelated text."""
    models: ModelsConfig = ModelsConfig()
    scenarios: ScenariosConfig = ScenariosConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    training: TrainingConfig = TrainingConfig()
    tasting: TastingConfig = TastingConfig()
    budget: BudgetConfig = BudgetConfig()
    knobs: Knobs = Knobs()
    calibration: FilePath | None = None
    """Labelled replies for calibrating the judge, relative to the config file; None: the teacher writes them."""
    rows: tuple[FilePath, ...] = ()
    """Files of rows of your own, JSON Lines, relative to the config file (see docs/training.md)."""

    @field_validator("clauses")
    @classmethod
    def _each_clause_is_listed_once(cls, clauses: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((id_ for id_, count in Counter(clauses).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is listed twice; list each clause once")
        return clauses

    @model_validator(mode="after")
    def _a_limit_in_usd_has_prices(self) -> RunConfig:
        if self.budget.usd is not None:
            for name in self.models.names:
                endpoint = self.models.endpoint(name)
                priced = endpoint.prompt_usd_per_mtok or endpoint.completion_usd_per_mtok
                if name.startswith(REMOTE) and not priced:
                    shown = without_secrets(name)
                    raise ValueError(f"budget.usd needs a price for {shown}; add one to models.endpoints")
        return self

    @model_validator(mode="after")
    def _a_placebo_has_something_to_shadow(self) -> RunConfig:
        weights = self.knobs.mixture.model_dump()
        shadowed = ("documents", "demonstrations")
        if self.placebo and not any(weights[n] * s.share_of(n) for n in shadowed for s in self.training.stages):
            raise ValueError(
                "placebo: it shadows documents and demonstrations, and no stage trains either; set placebo to false"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_of_rewards(self) -> RunConfig:
        functions = self.training.rewards.functions
        for name in self.knobs.rewards.weights:
            if name not in functions:
                known = ", ".join(functions) or "none"
                raise ValueError(
                    f"knobs.rewards.weights.{name}: training.rewards.functions names no such reward ({known})"
                )
        if not functions:
            if self.knobs.mixture.rewards > 0:
                raise ValueError(
                    f"knobs.mixture.rewards is {self.knobs.mixture.rewards:g}, and training.rewards.functions names no "
                    "reward; name one, such as `right: right_answer`, or set the weight to 0"
                )
            return self
        weights = {name: self.knobs.rewards.weights.get(name, 1.0) for name in functions}
        rewards = self.knobs.rewards.model_copy(update={"weights": weights})
        return self.model_copy(update={"knobs": self.knobs.model_copy(update={"rewards": rewards})})

    def require_pool_floor(self, clauses: Sequence[Clause]) -> None:
        """Raises EthosError if the clauses plan fewer than 24 prompts for a pool, of which 20 have to be written."""
        for pool in (pool for pool in POOLS if pool != "gate"):  # nothing asks for that one yet
            count = sum(self.scenarios.count(pool, clause.judged) for clause in clauses)
            if count < _PLANNED_POOL:
                kinds = sorted({f"{pool}_per_{clause.kind}_clause" for clause in clauses})
                fields = " or scenarios.".join(kinds if pool == "sealed" else [f"{pool}_per_clause"])
                raise EthosError(
                    f"{len(clauses)} clauses plan {count} prompts for the {pool} pool, and {_PLANNED_POOL} are to be "
                    f"planned, so that {SMALLEST_POOL} are left if some can't be written; "
                    f"raise scenarios.{fields}, or add clauses"
                )


def load_config(path: Path) -> RunConfig:
    """Reads a run's YAML file. Raises EthosError that names the file, the field and the mend."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EthosError(f"{path}: can't be read as text ({error}); name a YAML file with a run's config") from error
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that doesn't exist is a ValueError
        raise EthosError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend that line") from error
    except RecursionError as error:
        raise EthosError(f"{path}: nested too deeply for a run's config; see docs/config.md for its form") from error
    if not isinstance(data, dict):
        raise EthosError(f"{path}: holds no fields; a run needs at least `name:` and `spec:`")
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        raise EthosError(f"{path}: {describe_validation_error(error)}") from error
    base = path.resolve().parent
    calibration = None if config.calibration is None else base / config.calibration
    translation = config.synthesis.code_translation
    translation = translation.model_copy(update={"functions": tuple(base / path for path in translation.functions)})
    return config.model_copy(
        update={
            "spec": base / config.spec,
            "calibration": calibration,
            "rows": tuple(base / path for path in config.rows),
            "synthesis": config.synthesis.model_copy(update={"code_translation": translation}),
        }
    )


def without_places(config_text: str) -> str:
    """A config's YAML without where its files lie, which changes as a folder moves; what is in them is kept elsewhere.

    Fields that it doesn't hold, as it was written before there were any, are at their defaults. Text that is no config
    comes back as it is.
    """
    try:
        fields: Any = RunConfig.model_validate(yaml.safe_load(config_text)).model_dump(mode="json")
    except (yaml.YAMLError, ValueError):  # pydantic's error is a ValueError too
        return config_text
    for place in _PLACES:
        *sections, name = place.split(".")
        section: Any = fields
        for within in sections:
            section = section[within]
        del section[name]
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def describe_validation_error(error: ValidationError) -> str:
    """The first thing that pydantic found, as one sentence that names the field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "config"
    if first["type"] == "extra_forbidden":
        return f"{where} is not a field; see docs/config.md for the fields there are"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    given = without_secrets(given) if isinstance(given, str) else given
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return f"{where}: {message}{shown}; see docs/config.md"
