"""How many prompts and topics each clause gets: known before any model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.spec.scenarios import POOLS, Pool
from ethos.spec.types import Clause, Spec
from ethos.store.config import RunConfig, ScenariosConfig


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """How many prompts and topics a clause gets in each pool."""

    prompts: Mapping[Pool, int]
    contrasts: Mapping[Pool, int]
    topics: Mapping[Pool, int]

    @property
    def total(self) -> int:
        """Prompts over all pools."""
        return sum(self.prompts.values()) + sum(self.contrasts.values())


def plan_scenarios(clause: Clause, config: ScenariosConfig) -> ScenarioPlan:
    """The plan of one clause: each topic is met in two contexts, in the sealed pool in four."""
    prompts = {pool: config.count(pool, clause.judged) for pool in POOLS}
    usable = {pool: sum(pool == "sealed" or not c.reserved for c in config.contexts) for pool in POOLS}
    topics = {pool: -(-prompts[pool] // min(usable[pool], 4 if pool == "sealed" else 2)) for pool in POOLS}
    contrasts: dict[Pool, int] = {}
    if clause.applies == "sometimes" and config.contrast_per_clause:
        contrasts = {"train": config.contrast_per_clause, "sealed": config.contrast_per_clause}
    return ScenarioPlan(prompts, contrasts, topics)


def chosen_clauses(config: RunConfig, spec: Spec) -> tuple[Clause, ...]:
    """The clauses that a run works on. Raises EthosError for an id that the spec hasn't."""
    clauses = spec.clauses
    if config.clauses:
        known = {clause.id: clause for clause in spec.clauses}
        for clause_id in config.clauses:
            if clause_id not in known:
                raise EthosError(
                    f"clauses: {spec.path.name} has no clause {clause_id!r}; use some of {', '.join(known)}"
                )
        clauses = tuple(known[clause_id] for clause_id in config.clauses)
    limit = config.max_clauses
    if limit is not None and len(clauses) > limit:
        clauses = tuple(clauses[index * len(clauses) // limit] for index in range(limit))
    return clauses
