from __future__ import annotations

import pytest
import torch

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation, Message
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage
from ethos.training.batch import Completion, pack
from ethos.training.objectives.demonstrations import Demonstrations
from ethos.training.outputs import Outputs
from models import tiny

LINEAGE = Lineage("test", capability_source="test")
TEMPLATE = ChatTemplate(tiny.tokenizer(), None)
TALK = Conversation.user("Hi").then("assistant", "Hello").then("user", "Why?").then("assistant", "So.")


def test_only_the_last_reply_and_its_end_of_turn_are_targets() -> None:
    row = DemonstrationRow(TALK, LINEAGE)
    [prepared] = Demonstrations().prepare([row], TEMPLATE, 1000).rows
    assert prepared.row_id == row.id
    assert prepared.completions == (Completion((*TEMPLATE.encode("So."), tiny.END)),)
    assert prepared.prompt == TEMPLATE.prompt(Conversation(TALK.messages[:-1]))


def test_all_replies_are_targets_if_asked_and_what_users_and_tools_say_never_is() -> None:
    talk = TALK.then("tool", "It is 7.").then("assistant", "Seven.")
    [prepared] = Demonstrations("all").prepare([DemonstrationRow(talk, LINEAGE)], TEMPLATE, 1000).rows
    assert prepared.prompt == TEMPLATE.prompt(Conversation(talk.messages[:1]))
    batch = pack([prepared], 1000)[0]
    said = [*TEMPLATE.encode("Hello"), tiny.END, *TEMPLATE.encode("So."), tiny.END]
    assert batch.targets_M.tolist() == [*said, *TEMPLATE.encode("Seven."), tiny.END]
    last = TEMPLATE.row(talk)  # the same tokens, masked otherwise
    assert batch.tokens_N.tolist() == [*last.prompt, *last.tokens]


def test_a_conversation_past_the_limit_and_a_document_are_left_out() -> None:
    row = DemonstrationRow(TALK, LINEAGE)
    length = Demonstrations().prepare([row], TEMPLATE, 1000).rows[0].size.longest
    assert len(Demonstrations().prepare([row], TEMPLATE, length).rows) == 1
    found = Demonstrations().prepare([row, DocumentRow("Text", "Title", LINEAGE)], TEMPLATE, length - 1)
    assert (found.rows, found.left_out) == ([], {"longer than the context": 1})


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (TALK.then("user", "And?"), "doesn't end on the assistant's turn"),
        (Conversation.user("Hi").then("assistant", " "), "an empty completion"),
        (Conversation((Message("assistant", "Hello"),)), "begins with the assistant's turn"),
    ],
)
def test_what_can_not_be_trained_on_is_counted(talk: Conversation, reason: str) -> None:
    found = Demonstrations().prepare([DemonstrationRow(talk, LINEAGE)], TEMPLATE, 1000)
    assert (found.rows, found.left_out) == ([], {reason: 1})


def test_an_empty_reply_that_would_be_a_target_is_counted() -> None:
    talk = Conversation.user("Hi").then("assistant", "").then("user", "Still there?").then("assistant", "Yes.")
    row = DemonstrationRow(talk, LINEAGE)
    assert Demonstrations("all").prepare([row], TEMPLATE, 1000).left_out == {"an empty completion": 1}
    assert len(Demonstrations().prepare([row], TEMPLATE, 1000).rows) == 1


def test_the_loss_is_the_sum_over_targets() -> None:
    batch = pack(Demonstrations().prepare([DemonstrationRow(TALK, LINEAGE)], TEMPLATE, 1000).rows, 1000)[0]
    assert Demonstrations().units(batch) == 4
    assert float(Demonstrations().loss(Outputs(-torch.ones(4)), batch).total) == 4.0
