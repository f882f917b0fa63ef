"""Counts that are known before any model is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.spec.scenarios import POOLS, Topic, families_of_pool
from ethos.spec.types import Spec
from ethos.store.config.data import ScenariosConfig
from ethos.store.config.run import RunConfig
from ethos.synthesis.sizes import chosen_clauses, contexts_of, plan_scenarios

CONFIG = ScenariosConfig(train_per_clause=7, sealed_per_checked_clause=21, sealed_per_judged_clause=41)


def config(**fields: object) -> RunConfig:
    return RunConfig.model_validate({"name": "wren", "spec": Path("wren.md"), **fields})


@pytest.mark.parametrize("judged", [False, True])
def test_the_planned_topics_always_give_the_planned_prompts(wren: Spec, judged: bool) -> None:
    clause = replace(wren.clauses[0], ask="Is it so?" if judged else None)
    plan = plan_scenarios(clause, CONFIG)
    contexts = [context.to_context() for context in CONFIG.contexts]
    for pool in POOLS:
        topics = [Topic(str(n), "") for n in range(plan.topics[pool])]
        assert len(families_of_pool(clause.id, pool, topics, contexts, plan.prompts[pool])) == plan.prompts[pool]
    assert plan.prompts["sealed"] == (41 if judged else 21)


def test_the_total_counts_contrasts(wren: Spec) -> None:
    always, sometimes = wren.clause("plain"), wren.clause("name")
    without = 7 + 5 + 5 + 21
    assert plan_scenarios(always, CONFIG).total == without
    assert plan_scenarios(sometimes, CONFIG).total == without + 2 * CONFIG.contrast_per_clause


def test_over_application_is_read_only_where_it_can_be_told(wren: Spec) -> None:
    demands, forbids = wren.clause("name"), replace(wren.clause("brevity"), applies="sometimes")
    contrasts = [plan_scenarios(c, CONFIG).contrasts for c in (demands, forbids, replace(forbids, ask="Is it so?"))]
    assert contrasts == [{"train": 4, "sealed": 4}, {"train": 4}, {"train": 4, "sealed": 4}]


def test_all_clauses_are_chosen_unless_some_are_named(wren: Spec) -> None:
    assert chosen_clauses(config(), wren) == wren.clauses
    assert [c.id for c in chosen_clauses(config(clauses=["plain", "name"]), wren)] == ["plain", "name"]


def test_a_limit_spreads_over_the_whole_spec(wren: Spec) -> None:
    assert [c.id for c in chosen_clauses(config(max_clauses=2), wren)] == ["name", "plain"]


def test_a_context_that_is_not_there_is_told_with_the_clauses(wren: Spec) -> None:
    misspelt = replace(wren.clause("name"), contexts=("chta",))
    spec = replace(wren, clauses=(misspelt, *wren.clauses[1:]))
    with pytest.raises(EthosError, match=r"clause name: there is no context 'chta'; use some of chat"):
        chosen_clauses(config(), spec)
    assert chosen_clauses(config(clauses=["plain"]), spec) == (wren.clause("plain"),)


def test_a_clause_that_is_not_there_is_an_error_that_names_those_that_are(wren: Spec) -> None:
    with pytest.raises(EthosError, match=r"wren\.md has no clause 'nmae'; use some of name, brevity, plain, step"):
        chosen_clauses(config(clauses=["nmae"]), wren)


@pytest.mark.parametrize("declared", [(), ("chat",), ("chat", "forum")])
def test_a_clause_that_declares_contexts_gets_its_prompts_too(wren: Spec, declared: tuple[str, ...]) -> None:
    clause = replace(wren.clauses[0], contexts=declared)
    plan = plan_scenarios(clause, CONFIG)
    for pool in POOLS:
        topics = [Topic(str(n), "") for n in range(plan.topics[pool])]
        families = families_of_pool(clause.id, pool, topics, contexts_of(clause, CONFIG), plan.prompts[pool])
        assert len(families) == plan.prompts[pool]
        if declared and pool != "sealed":
            assert {family.context for family in families} <= set(declared)


def test_a_context_that_there_isnt_is_an_error_that_names_those_that_are(wren: Spec) -> None:
    clause = replace(wren.clauses[0], contexts=("chat", "fourm"))
    with pytest.raises(EthosError, match=r"clause name: there is no context 'fourm'; use some of chat, email, forum"):
        plan_scenarios(clause, CONFIG)


@pytest.mark.parametrize("declared", [("phone",)])
def test_a_clause_without_a_context_to_train_in_is_an_error(wren: Spec, declared: tuple[str, ...]) -> None:
    clause = replace(wren.clauses[0], contexts=declared)
    with pytest.raises(EthosError, match=r"clause name: none of its contexts .* name one of chat, email, forum"):
        plan_scenarios(clause, CONFIG)
