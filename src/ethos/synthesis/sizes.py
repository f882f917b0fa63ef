"""How many prompts and topics each clause gets: known before any model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.spec.scenarios import POOLS, Context, Pool
from ethos.spec.types import Clause, Spec
from ethos.store.config.data import ScenariosConfig
from ethos.store.config.run import RunConfig

_CONTEXTS_A_TOPIC = 2


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
    """The plan of one clause: each topic is met in two contexts."""
    prompts = {pool: config.count(pool, clause.judged) for pool in POOLS}
    contexts = contexts_of(clause, config)
    usable = {pool: sum(pool == "sealed" or not c.reserved for c in contexts) for pool in POOLS}
    topics = {pool: -(-prompts[pool] // min(usable[pool], _CONTEXTS_A_TOPIC)) for pool in POOLS}
    contrasts: dict[Pool, int] = {}
    if clause.applies == "sometimes" and config.contrast_per_clause:
        contrasts = {"train": config.contrast_per_clause}
        if clause.can_be_over_applied:
            contrasts["sealed"] = config.contrast_per_clause
    return ScenarioPlan(prompts, contrasts, topics)


def contexts_of(clause: Clause, config: ScenariosConfig) -> list[Context]:
    """The contexts that a clause is met in: those it declares, else all of the run's, and the reserved ones anyway.

    Raises EthosError if it declares one that there isn't, or none that can be trained in.
    """
    known = [context.name for context in config.contexts]
    for name in clause.contexts:
        if name not in known:
            raise EthosError(
                f"clause {clause.id}: there is no context {name!r}; use some of {', '.join(known)}, or add it to "
                "scenarios.contexts"
            )
    found = [c.to_context() for c in config.contexts if not clause.contexts or c.name in clause.contexts or c.reserved]
    if all(context.reserved for context in found):
        there = ", ".join(c.name for c in config.contexts if not c.reserved)
        raise EthosError(
            f"clause {clause.id}: none of its contexts ({', '.join(clause.contexts)}) can be trained in; name one of "
            f"{there}, or add it to scenarios.contexts"
        )
    return found


def chosen_clauses(config: RunConfig, spec: Spec) -> tuple[Clause, ...]:
    """The clauses that a run works on.

    Raises EthosError for an id that the spec hasn't, and, before anything is made, for contexts that can't be used.
    """
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
    for clause in clauses:
        contexts_of(clause, config.scenarios)
    return clauses
