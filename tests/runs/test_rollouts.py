from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ethos.runs.rollouts import Rollout, sampling_params, trained_rows, with_advantages
from ethos.store.config.knobs import RewardsKnobs
from ethos.store.config.objectives import RewardsObjective
from ethos.training.batch import TokenRow

PROMPT = TokenRow("a", (1, 2), ())
SIGNALS = ("sampling_logprobs", "advantage")


def group(*rewards: float | None) -> list[Rollout]:
    return [
        Rollout((3, 4 + n), (-1.0, -2.0), n == 0, {"r": reward}, reference=(-1.5, -2.0 - n))
        for n, reward in enumerate(rewards)
    ]


def config(**fields: object) -> RewardsObjective:
    return RewardsObjective.model_validate({"functions": {"r": "right_answer"}} | fields)


KNOBS = RewardsKnobs(weights={"r": 1.0})


def test_a_rollout_survives_the_record() -> None:
    rollout = replace(group(1.0)[0], advantage=0.5)
    assert Rollout.from_dict(json.loads(json.dumps(rollout.to_dict()))) == rollout


def test_replies_are_trained_on_with_what_the_objective_reads_of_them() -> None:
    rollouts = with_advantages(group(0.0, 1.0), config(), KNOBS)
    [row] = trained_rows([PROMPT], [rollouts], SIGNALS, mask_truncated=False)
    assert (row.row_id, row.prompt) == ("a", (1, 2))
    assert [c.tokens for c in row.completions] == [(3, 4), (3, 5)]
    assert [dict(c.signals) for c in row.completions] == [
        {"sampling_logprobs": (-1.0, -2.0), "advantage": pytest.approx(-0.7071, abs=1e-4)},
        {"sampling_logprobs": (-1.0, -2.0), "advantage": pytest.approx(0.7071, abs=1e-4)},
    ]
    [plain] = trained_rows([PROMPT], [rollouts], (), mask_truncated=False)
    assert all(not c.signals for c in plain.completions)


def test_a_reply_that_was_cut_off_counts_in_its_group_and_is_trained_on_or_not() -> None:
    rollouts = with_advantages(group(0.0, 1.0, 1.0), config(), KNOBS)
    [row] = trained_rows([PROMPT], [rollouts], SIGNALS, mask_truncated=True)
    kept = [rollout.advantage for rollout in rollouts[1:]]
    assert [c.signals["advantage"] for c in row.completions] == kept


def test_a_group_without_spread_is_not_trained_on() -> None:
    rollouts = with_advantages(group(0.5, 0.5), config(), KNOBS)
    assert [rollout.advantage for rollout in rollouts] == [None, None]
    assert trained_rows([PROMPT], [rollouts], SIGNALS, mask_truncated=False) == []


def test_a_reply_that_was_not_scored_is_not_trained_on() -> None:
    rollouts = with_advantages(group(0.0, None, 1.0, float("nan")), config(), KNOBS)
    assert [rollout.advantage is None for rollout in rollouts] == [False, True, False, True]
    [row] = trained_rows([PROMPT], [rollouts], SIGNALS, mask_truncated=False)
    assert [c.tokens for c in row.completions] == [(3, 4), (3, 6)]


def test_rloos_kl_is_a_part_of_the_reward() -> None:
    knobs = RewardsKnobs(weights={"r": 1.0}, kl_coefficient=0.2)
    drawn = [replace(rollout, divergence=nats) for rollout, nats in zip(group(1.0, 1.0), (0.5, 1.5), strict=True)]
    rollouts = with_advantages(drawn, config(estimator="rloo"), knobs)
    assert [rollout.advantage for rollout in rollouts] == pytest.approx([0.2, -0.2])


def test_a_steps_noise_is_its_own_and_nothing_is_cut_from_the_distribution() -> None:
    first = sampling_params(7, 1, "rewards", 9)
    others = (sampling_params(7, 2, "rewards", 9), sampling_params(7, 1, "distillation", 9))
    assert all(first.seed != other.seed for other in others)
    assert first == sampling_params(7, 1, "rewards", 9)
    assert (first.temperature, first.top_p, first.top_k, first.max_tokens) == (1.0, 1.0, 0, 9)
