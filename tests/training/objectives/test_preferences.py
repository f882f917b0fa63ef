from __future__ import annotations

import math

import pytest
import torch

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation
from ethos.store.rows import DocumentRow, Lineage, PreferenceRow
from ethos.training.batch import Batch, pack
from ethos.training.frozen import with_signal
from ethos.training.objectives.preferences import REFERENCE, Preferences
from ethos.training.outputs import Outputs
from models import tiny

LINEAGE = Lineage("test", capability_source="test")
TEMPLATE = ChatTemplate(tiny.tokenizer(), None)
ASKED = Conversation.user("Hi")


def batch_of(probability: float = 1.0) -> Batch:
    row = PreferenceRow(ASKED, "Yes", "No", LINEAGE, probability)
    [tokens] = Preferences().prepare([row], TEMPLATE, 100).rows
    return pack([with_signal(tokens, REFERENCE, (-5.0, -4.0))], 100)[0]


LOGPROBS = Outputs(torch.tensor([-1.0, -1.0, -0.5, -0.5, -2.0, -2.0, -1.0]))  # Yes and its end: -3; No and its end: -5


def loss(objective: Preferences, probability: float = 1.0) -> float:
    return float(objective.loss(LOGPROBS, batch_of(probability)).total)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_pair_is_one_row_that_shares_its_prompt() -> None:
    row = PreferenceRow(ASKED, "Yes", "No", LINEAGE)
    [tokens] = Preferences().prepare([row, DocumentRow("Text", "t", LINEAGE)], TEMPLATE, 100).rows
    assert tokens.prompt == TEMPLATE.prompt(ASKED)
    assert [c.tokens for c in tokens.completions] == [
        (*TEMPLATE.encode("Yes"), tiny.END),
        (*TEMPLATE.encode("No"), tiny.END),
    ]
    assert len(pack([tokens], 1)) == 1


def test_dpo_is_the_logistic_loss_of_how_far_apart_the_ratios_are() -> None:
    # ratios: -3 + 5 = 2 and -5 + 4 = -1, so h = 3 (the last of four and three tokens counted too)
    batch = batch_of()
    chosen, rejected = -3.0 - -5.0, -5.0 - -4.0
    total = Preferences(beta=0.2).loss(LOGPROBS, batch)
    assert float(total.total) == pytest.approx(-math.log(sigmoid(0.2 * (chosen - rejected))))
    assert total.metrics["accuracy"].value == 1.0
    assert total.metrics["margin"].value == pytest.approx(0.2 * (chosen - rejected))
    assert total.metrics["chosen_reward"].value == pytest.approx(0.2 * chosen)
    assert total.metrics["rejected_reward"].value == pytest.approx(0.2 * rejected)


def test_a_soft_label_weighs_both_ways_round() -> None:
    right, wrong = -math.log(sigmoid(0.6)), -math.log(sigmoid(-0.6))
    assert loss(Preferences(beta=0.2), 0.7) == pytest.approx(0.7 * right + 0.3 * wrong)
    assert loss(Preferences(beta=0.2, label_smoothing=0.1)) == pytest.approx(0.9 * right + 0.1 * wrong)
    assert loss(Preferences(beta=0.2, label_smoothing=0.1), 0.7) == pytest.approx(0.66 * right + 0.34 * wrong)


def test_ipo_is_the_squared_distance_of_the_mean_ratios_from_its_target() -> None:
    apart = 2.0 / 4 - -1.0 / 3
    assert loss(Preferences("ipo", beta=0.2)) == pytest.approx((apart - 2.5) ** 2)
    both = 0.7 * (apart - 2.5) ** 2 + 0.3 * (apart + 2.5) ** 2
    assert loss(Preferences("ipo", beta=0.2), 0.7) == pytest.approx(both)


def test_ipo_tells_of_the_difference_that_its_loss_is_about() -> None:
    """By its sum the rejected reply of seven tokens is ahead, per token the chosen one."""
    row = PreferenceRow(ASKED, "Yes", "No", LINEAGE)
    [tokens] = Preferences().prepare([row], TEMPLATE, 100).rows
    [batch] = pack([with_signal(tokens, REFERENCE, (-5.0, -7.3))], 100)  # 2 of 4 tokens, 2.3 of 3
    found = Preferences("ipo", beta=0.2).loss(LOGPROBS, batch).metrics
    assert found["margin"].value == pytest.approx(0.2 * (2.0 / 4 - 2.3 / 3))
    assert found["accuracy"].value == 0.0


def test_the_likelihood_of_the_chosen_reply_is_added_per_token() -> None:
    plain = loss(Preferences(beta=0.2))
    assert loss(Preferences(beta=0.2, nll_coefficient=0.5)) == pytest.approx(plain + 0.5 * 3.0 / 4)


def test_a_pair_that_is_rather_the_other_way_round_is_turned() -> None:
    row = PreferenceRow(ASKED, "Yes", "No", LINEAGE, probability=0.2, margin=0.5)
    [tokens] = Preferences().prepare([row], TEMPLATE, 100).rows
    assert tokens.completions[0].tokens == (*TEMPLATE.encode("No"), tiny.END)
    assert (tokens.row_id, tokens.signals["label"], tokens.signals["margin"]) == (row.id, 0.8, 0.5)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (PreferenceRow(ASKED, "Yes", "  ", LINEAGE), "an empty completion"),
        (PreferenceRow(ASKED, "Yes", "Yes", LINEAGE), "both completions are the same"),
        (PreferenceRow(ASKED, "Yes" * 40, "No", LINEAGE), "longer than the context"),
        (
            PreferenceRow(ASKED.then("assistant", "Ho"), "Yes", "No", LINEAGE),
            "a prompt that ends on the assistant's turn",
        ),
    ],
)
def test_what_can_not_be_trained_on_is_counted(row: PreferenceRow, reason: str) -> None:
    found = Preferences().prepare([row], TEMPLATE, 100)
    assert (found.rows, found.left_out) == ([], {reason: 1})


@pytest.mark.parametrize(("probability", "margin"), [(1.1, 0.0), (-0.1, 0.0), (float("nan"), 0.0), (0.5, float("inf"))])
def test_a_label_that_is_no_probability_is_refused(probability: float, margin: float) -> None:
    with pytest.raises(ValueError, match="preference's"):
        PreferenceRow(ASKED, "Yes", "No", LINEAGE, probability, margin)
