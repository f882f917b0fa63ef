"""The split into pools, which is fixed before any prompt is written."""

from __future__ import annotations

import re

import pytest

from ethos.errors import EthosError
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import (
    POOLS,
    Context,
    Family,
    Pool,
    Scenario,
    Topic,
    deal_topics,
    families_of_pool,
    require_pool_sizes,
)

TOPICS = [Topic(f"topic {number}", "") for number in range(40)]
TEXTS = [topic.text for topic in TOPICS]
NEEDED: dict[Pool, int] = {"train": 8, "taste": 3, "gate": 3, "sealed": 6}
CONTEXTS = (
    Context("chat", "a chat message"),
    Context("email", "an email"),
    Context("phone", "a text message", reserved=True),
    Context("story", "a story", reserved=True),
)


def test_the_same_seed_and_clause_deal_the_same_topics() -> None:
    assert deal_topics(TEXTS, NEEDED, 3, "brevity") == deal_topics(TEXTS, NEEDED, 3, "brevity")


@pytest.mark.parametrize(("seed", "clause_id"), [(4, "brevity"), (3, "name")])
def test_another_seed_or_clause_deals_them_otherwise(seed: int, clause_id: str) -> None:
    assert deal_topics(TEXTS, NEEDED, seed, clause_id) != deal_topics(TEXTS, NEEDED, 3, "brevity")


def test_each_pool_gets_what_it_needs_and_none_sees_anothers_topics() -> None:
    dealt = deal_topics([*TEXTS, *TEXTS], NEEDED, 0, "c")
    assert {pool: len(topics) for pool, topics in dealt.items()} == NEEDED
    every = [topic for pool in POOLS for topic in dealt[pool]]
    assert len(set(every)) == len(every) == sum(NEEDED.values())


def test_too_few_topics_are_an_error_that_counts_them() -> None:
    with pytest.raises(EthosError, match=r"clause c: 19 distinct topics, but the pools need 20; lower scenarios"):
        deal_topics(TEXTS[:19], NEEDED, 0, "c")


def test_topics_that_are_close_are_never_in_two_pools() -> None:
    texts = [
        f"{name}{number}"
        for name, size in zip("abcdefgh", [9, 5, 4, 3, 2, 2, 1, 1], strict=True)
        for number in range(size)
    ]
    dealt = deal_topics(texts, NEEDED, 0, "c", lambda one, other: one[0] == other[0])
    pools_of = {
        text[0]: {pool for pool in POOLS for topic in dealt[pool] if topic.text[0] == text[0]} for text in texts
    }
    assert all(len(pools) <= 1 for pools in pools_of.values())
    assert all(0 < len(dealt[pool]) <= NEEDED[pool] for pool in POOLS)
    for pool in POOLS:
        assert len({topic.group for topic in dealt[pool]}) == len({topic.text[0] for topic in dealt[pool]})


def test_a_topic_close_to_one_in_every_pool_is_left_out() -> None:
    """Being near isn't transitive: animals that are not near each other may all be near "all animals"."""
    texts = ["dog", "cat", "parrot", "goldfish", "all animals"]
    needed: dict[Pool, int] = dict.fromkeys(POOLS, 1)
    for seed in range(20):
        dealt = deal_topics(texts, {**needed, "train": 2}, seed, "c", lambda one, other: "all animals" in (one, other))
        together = [pool for pool in POOLS if "all animals" in [topic.text for topic in dealt[pool]]]
        assert sum(len(dealt[pool]) for pool in POOLS) == (2 if together else 4)


def test_prompts_on_close_topics_are_one_topic_of_the_statistics() -> None:
    families = families_of_pool("c", "train", [Topic("a", "a"), Topic("b", "a"), Topic("c", "c")], CONTEXTS, 3)
    assert len({family.id for family in families}) == 3
    assert len({family.topic_id for family in families}) == 2


def test_a_topic_meets_a_context_once() -> None:
    families = families_of_pool("c", "train", TOPICS[:4], CONTEXTS, 8)
    assert len({(f.topic, f.context) for f in families}) == len({f.id for f in families}) == 8


def test_topics_and_contexts_are_spread_evenly_before_any_comes_twice() -> None:
    families = families_of_pool("c", "train", TOPICS[:4], CONTEXTS, 4)
    assert [f.topic for f in families] == [topic.text for topic in TOPICS[:4]]
    assert sorted(f.context for f in families) == ["chat", "chat", "email", "email"]


@pytest.mark.parametrize("pool", ["train", "taste", "gate"])
def test_reserved_contexts_are_met_in_no_other_pool(pool: Pool) -> None:
    families = families_of_pool("c", pool, TOPICS[:4], CONTEXTS, 8)
    assert {f.context for f in families} == {"chat", "email"}


def test_the_sealed_pool_meets_reserved_contexts_too() -> None:
    families = families_of_pool("c", "sealed", TOPICS[:4], CONTEXTS, 8)
    assert {f.context for f in families} == {"chat", "email", "phone", "story"}


def test_too_few_families_are_an_error_that_counts_them() -> None:
    with pytest.raises(EthosError, match=r"clause c, pool train: 4 topics × 2 contexts give 8 families, but 9"):
        families_of_pool("c", "train", TOPICS[:4], CONTEXTS, 9)


def test_a_contrast_is_another_family_than_the_clauses_own() -> None:
    [own] = families_of_pool("c", "train", TOPICS[:1], CONTEXTS, 1)
    [contrast] = families_of_pool("c", "train", TOPICS[:1], CONTEXTS, 1, contrast=True)
    assert (own.topic, own.context) == (contrast.topic, contrast.context)
    assert own.id != contrast.id


def test_two_prompts_of_one_family_are_two_scenarios() -> None:
    family = Family("c", "a topic", "chat", "train")
    one, other = (Scenario(family, Conversation.user(text)) for text in ("Hello?", "Goodbye?"))
    assert one.id != other.id
    assert one.id.startswith(family.id)
    assert one.clause_id == "c"


def scenarios(pool: Pool, count: int) -> list[Scenario]:
    return [Scenario(Family("c", str(n), "chat", pool), Conversation.user(f"Message {n}")) for n in range(count)]


def test_twenty_prompts_are_enough_for_a_pool() -> None:
    require_pool_sizes([*scenarios("train", 20), *scenarios("taste", 20)], ("train", "taste"))


def test_fewer_than_twenty_are_an_error_that_names_pool_and_mend() -> None:
    with pytest.raises(
        EthosError, match=r"the taste pool has 19 prompts and needs at least 20; raise scenarios\.taste"
    ):
        require_pool_sizes([*scenarios("train", 20), *scenarios("taste", 19)], ("train", "taste"))


def test_the_mend_for_the_sealed_pool_names_fields_that_exist() -> None:
    from ethos.store.config.data import ScenariosConfig

    with pytest.raises(EthosError) as raised:
        require_pool_sizes(scenarios("sealed", 3), ("sealed",))
    named = re.findall(r"scenarios\.(\w+)", str(raised.value))
    assert len(named) == 2
    assert set(named) <= set(ScenariosConfig.model_fields)
