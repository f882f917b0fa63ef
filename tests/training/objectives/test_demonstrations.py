from __future__ import annotations

import torch

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage
from ethos.training.batch import pack
from ethos.training.objectives.demonstrations import Demonstrations
from ethos.training.objectives.types import Outputs
from models import tiny

LINEAGE = Lineage("test", capability_source="test")
TEMPLATE = ChatTemplate(tiny.tokenizer(), None)
TALK = Conversation.user("Hi").then("assistant", "Hello").then("user", "Why?").then("assistant", "So.")


def test_only_the_last_reply_and_its_end_of_turn_are_targets() -> None:
    row = DemonstrationRow(TALK, LINEAGE)
    prepared = Demonstrations().prepare([row], TEMPLATE, 1000)[0]
    assert prepared.row_id == row.id
    assert prepared.tokens[prepared.target_start :] == (*TEMPLATE.encode("So."), tiny.END)
    assert prepared.tokens[: prepared.target_start] == TEMPLATE.prompt(Conversation(TALK.messages[:-1]))


def test_a_conversation_past_the_limit_and_a_document_are_left_out() -> None:
    row = DemonstrationRow(TALK, LINEAGE)
    length = len(TEMPLATE.row(TALK).tokens)
    assert len(Demonstrations().prepare([row], TEMPLATE, length)) == 1
    assert Demonstrations().prepare([row, DocumentRow("Text", "Title", LINEAGE)], TEMPLATE, length - 1) == []


def test_the_loss_is_the_sum_over_targets() -> None:
    batch = pack(Demonstrations().prepare([DemonstrationRow(TALK, LINEAGE)], TEMPLATE, 1000), 1000)[0]
    assert Demonstrations().units(batch) == 4
    assert float(Demonstrations().loss(Outputs(-torch.ones(4)), batch).total) == 4.0
