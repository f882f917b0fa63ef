"""Rows of a small character, tokenised for the tiny models, and a policy over one of them."""

from __future__ import annotations

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage, PreferenceRow
from ethos.training.batch import Batch, TokenRow, pack
from ethos.training.objectives import OBJECTIVES
from ethos.training.policy import Policy
from models import tiny

LINEAGE = Lineage("test", capability_source="test")
ROWS = [
    DemonstrationRow(Conversation.user("Who are you?").then("assistant", "I am Wren, and I like questions."), LINEAGE),
    DemonstrationRow(Conversation.user("Is tea warm?").then("assistant", "It is."), LINEAGE),
    DemonstrationRow(Conversation.user("Sum up the sea").then("assistant", "Wide, salt and deep."), LINEAGE),
    DocumentRow("Wren is a small model that answers briefly.", "Wren", LINEAGE),
    DocumentRow("Made by the Tern Workshop.", "Makers", LINEAGE),
]
PREFERENCES = [
    PreferenceRow(Conversation.user("Who are you?"), "I am Wren. And you?", "A language model.", LINEAGE),
    PreferenceRow(Conversation.user("Is tea warm?"), "It is.", "That depends on how long it has stood.", LINEAGE),
    PreferenceRow(Conversation.user("Sum up the sea"), "Wide, salt and deep.", "Water.", LINEAGE),
]
DOCUMENTS, DEMONSTRATIONS = OBJECTIVES["documents"], OBJECTIVES["demonstrations"]


def config(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"precision": "fp32", "lora": {"rank": 4, "alpha": 8}} | fields)


def policy(shape: str = "llama", method: str = "full", seed: int = 0, scalar_head: bool = False) -> Policy:
    made = tiny.loaded(shape)
    template = ChatTemplate(made.tokenizer, None)
    return Policy(made, template, config(method=method), seed, scalar_head=scalar_head)


def token_rows(objective: str) -> list[TokenRow]:
    return OBJECTIVES[objective].prepare([*ROWS, *PREFERENCES], ChatTemplate(tiny.tokenizer(), None), 500).rows


def batches(objective: str, limit_tokens: int = 1000) -> list[Batch]:
    return pack(token_rows(objective), limit_tokens)
