"""The placebo arm's rows: as many target tokens as the real arm's, and none of them about the spec."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from ethos.models.types import Sample, SamplingParams, Usage
from ethos.runs.placebo import placebo_rows
from ethos.runs.session import Session
from ethos.runs.training import Prepared
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, DocumentRow
from ethos.training.batch import TokenRow
from ethos.training.mixture import RowSet

ENGINE = SimpleNamespace(template=SimpleNamespace(encode=str.split))


class Base:
    """Says the draw, and then the prompt."""

    engine = ENGINE

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Any) -> list[Sample]:
        return [Sample(f"{draw} {prompt.last_user}", "stop", Usage(1, 1), draw) for draw in draws]


def prepared(name: str, targets: int) -> Prepared:
    row = TokenRow("row", tuple(range(targets + 1)), 1)
    return Prepared(RowSet(name, "v", 1), (row,))


def made(session: Session, demonstrations: int, documents: int) -> tuple[list[Any], list[Any]]:
    real = {
        "demonstrations": prepared("demonstrations", demonstrations),
        "documents": prepared("documents", documents),
    }
    rows = asyncio.run(placebo_rows(session, Base(), real))  # type: ignore[arg-type]
    return [r for r in rows if isinstance(r, DemonstrationRow)], [r for r in rows if isinstance(r, DocumentRow)]


def test_each_kind_has_just_as_many_target_tokens_as_the_real_arm(session: Session) -> None:
    demonstrations, documents = made(session, 3000, 400)
    for sizes, wanted in (
        ([len(r.conversation.messages[-1].content.split()) + 1 for r in demonstrations], 3000),
        ([len(r.text.split()) + 1 for r in documents], 400),
    ):
        assert sum(sizes) >= wanted > sum(sizes[:-1])


def test_no_row_comes_from_a_clause(session: Session) -> None:
    demonstrations, documents = made(session, 500, 100)
    assert demonstrations
    assert documents
    assert all(not r.lineage.clause_ids and r.lineage.capability_source for r in (*demonstrations, *documents))
