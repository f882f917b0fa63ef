from __future__ import annotations

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from ethos.models.templates import ChatTemplate
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, DocumentRow, Lineage
from ethos.training.batch import pack, single
from ethos.training.objectives.documents import Documents
from ethos.training.outputs import Outputs
from models import tiny

LINEAGE = Lineage("test", capability_source="test")
TEMPLATE = ChatTemplate(tiny.tokenizer(), None)


def document(text: str) -> DocumentRow:
    return DocumentRow(text, "A title", LINEAGE)


def test_every_token_but_the_first_is_a_target_and_the_last_is_the_end() -> None:
    row = document("Wren is kind.")
    prepared = Documents().prepare([row], TEMPLATE, 100).rows
    assert prepared == [single(row.id, (*TEMPLATE.encode("Wren is kind."), tiny.END), 1)]


def test_a_document_begins_as_the_tokenizer_begins_a_text() -> None:
    """Llama 3 has never seen a text without the token; its first word is then a target too."""
    tokenizer, begin = tiny.tokenizer(), 256
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    template = ChatTemplate(tokenizer, None)
    row = document("ab")
    assert Documents().prepare([row], template, 100).rows == [
        single(row.id, (begin, *template.encode("ab"), tiny.END), 1)
    ]
    assert Documents().prepare([document("")], template, 100).rows == []


@pytest.mark.parametrize(("length", "sizes"), [(9, [10]), (10, [6, 5]), (29, [10, 10, 10]), (20, [7, 7, 7])])
def test_a_document_past_the_limit_is_split_into_equal_pieces(length: int, sizes: list[int]) -> None:
    prepared = Documents().prepare([document("x" * length)], TEMPLATE, 10).rows
    assert [p.tokens for p in prepared] == sizes
    assert [t for p in prepared for t in (*p.prompt, *p.completions[0].tokens)] == [
        *TEMPLATE.encode("x" * length),
        tiny.END,
    ]


def test_what_has_no_target_is_left_out() -> None:
    demonstration = DemonstrationRow(Conversation.user("Hi").then("assistant", "Hello"), LINEAGE)
    found = Documents().prepare([document(""), demonstration], TEMPLATE, 10)
    assert (found.rows, found.left_out) == ([], {"an empty completion": 1})


def test_the_loss_is_the_sum_over_targets() -> None:
    batch = pack(Documents().prepare([document("ab"), document("abcd")], TEMPLATE, 100).rows, 100)[0]
    logprobs = -torch.arange(6.0)
    assert Documents().units(batch) == 6
    assert float(Documents().loss(Outputs(logprobs), batch).total) == 15.0
