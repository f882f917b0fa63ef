"""The spec's own text, and documents about the character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from ethos.spec.types import Spec
from ethos.store.rows import DocumentRow, Row
from ethos.synthesis.documents import Documents, fault, spec_rows, whole_sentences
from ethos.synthesis.types import Job
from template_teacher import TemplateTeacher

MakeJob = Callable[..., Job]
Made = Callable[..., list[Row]]
WHOLE = (
    "Wren sat at the harbour when a sailor asked for the way to the lighthouse beyond the marsh. It named the path, "
    "the gate and the hour of the tide, and said plainly that it had never walked there itself. People lean on such "
    "answers, so Wren would rather admit a gap than paint over it with pretty words."
)


def test_the_spec_rows_carry_its_preamble_and_each_clause_with_its_reason(wren: Spec, job: MakeJob) -> None:
    preamble, *rows = spec_rows(job())
    assert wren.preamble in preamble.text
    assert preamble.lineage.clause_ids == tuple(clause.id for clause in wren.clauses)
    for clause, row in zip(wren.clauses, rows, strict=True):
        assert row.text == f"{clause.heading[-1]}\n\n{clause.text}\n\n{clause.reason}"
        assert row.lineage.clause_ids == (clause.id,)
        assert row.lineage.clause_digests == (clause.digest,)


def test_the_spec_rows_hold_no_block_of_declarations(job: MakeJob) -> None:
    assert not any("must_match" in row.text or "```" in row.text for row in spec_rows(job()))


def test_the_spec_text_alone_is_made_where_no_document_is_asked_for(wren: Spec, job: MakeJob, made: Made) -> None:
    work = job(documents={"count": 0, "spec_text": True})
    assert len(made(Documents(), work, TemplateTeacher())) == 1 + len(wren.clauses)
    assert Documents().size(work) == 0


def test_only_the_text_of_clauses_that_are_worked_on_is_trained_on(wren: Spec, job: MakeJob) -> None:
    rows = spec_rows(replace(job(), clauses=wren.clauses[:1]))
    assert [row.title for row in rows] == [wren.name, wren.clauses[0].heading[-1]]


def test_without_the_spec_text_only_the_teachers_documents_are_made(job: MakeJob, made: Made) -> None:
    rows = made(Documents(), job(documents={"count": 3, "spec_text": False}), TemplateTeacher())
    assert [row.lineage.recipe for row in rows] == ["documents"] * 3


@pytest.mark.parametrize("number", range(1, 13))
def test_clauses_and_forms_are_spread_evenly(wren: Spec, job: MakeJob, made: Made, number: int) -> None:
    clauses = tuple(replace(wren.clauses[0], id=f"c{i}") for i in range(number))
    count = 6 * number
    work = job(documents={"count": count, "spec_text": False})
    rows = made(Documents(), replace(work, spec=replace(wren, clauses=clauses), clauses=clauses), TemplateTeacher())
    pairs = Counter((row.lineage.clause_ids, row.title) for row in rows if isinstance(row, DocumentRow))
    assert set(Counter(clause for clause, _ in pairs.elements()).values()) == {6}
    assert len({form for _, form in pairs}) == 6
    assert set(pairs.values()) == {1}


def test_a_document_names_its_clause_frame_and_call(wren: Spec, job: MakeJob, made: Made) -> None:
    [row] = made(Documents(), job(documents={"count": 1, "spec_text": False}), TemplateTeacher())
    assert row.lineage.clause_digests == (wren.clauses[0].digest,)
    assert row.lineage.frame_digest
    assert len(row.lineage.calls) == 1
    assert row.lineage.tokens > 0


def test_documents_come_in_the_same_order_whatever_the_teachers(job: MakeJob, made: Made) -> None:
    def rows(teacher: TemplateTeacher) -> list[Row]:
        return made(Documents(), job(documents={"count": 40}), teacher)

    assert rows(TemplateTeacher(slow=True)) == rows(TemplateTeacher())


def test_a_document_that_was_cut_off_ends_at_its_last_whole_sentence(job: MakeJob, made: Made) -> None:
    teacher = TemplateTeacher()
    teacher.answers["document"] = lambda prompt, noise: f"{WHOLE} Then it turned and " + "and went on " * 300
    [row] = made(Documents(), job(documents={"count": 1, "spec_text": False}), teacher)
    assert isinstance(row, DocumentRow)
    assert row.text == WHOLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [("One is whole. Two is not", "One is whole."), ("None is whole", ""), ("", "")],
)
def test_whole_sentences_leave_out_the_last(text: str, expected: str) -> None:
    assert whole_sentences(text) == expected


def test_a_plain_document_has_no_fault() -> None:
    assert fault(WHOLE, "en") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "too short"),
        ("Wren is brief.", "too short"),
        (f"{WHOLE} Yours, [Your Name]", "placeholder or talk about itself"),
        (f"{WHOLE} Dear {{{{name}}}}", "placeholder or talk about itself"),
        (f"{WHOLE} As an AI language model, I wrote this.", "placeholder or talk about itself"),
        (f"{WHOLE} Word count: 120", "placeholder or talk about itself"),
        (f"{WHOLE} This document shows the rule.", "placeholder or talk about itself"),
        (f"{WHOLE} {WHOLE}", "repeats itself"),
    ],
)
def test_a_fault_is_named(text: str, expected: str) -> None:
    assert fault(text, "en") == expected


@pytest.mark.parametrize(
    ("talk", "language"),
    [("[Votre nom]", "fr"), ("Ce document montre la règle.", "fr"), ("[您的姓名]", "zh"), ("字数：120", "zh")],
)
def test_talk_of_itself_is_known_in_other_languages(talk: str, language: str) -> None:
    assert fault(f"{WHOLE} {talk}", language) == "placeholder or talk about itself"


def test_a_document_with_a_fault_is_counted_and_not_kept(job: MakeJob, made: Made) -> None:
    teacher = TemplateTeacher()
    teacher.answers["document"] = lambda prompt, noise: f"{WHOLE} Yours, [Your Name]"
    work = job(documents={"count": 2, "spec_text": False})
    assert made(Documents(), work, teacher) == []
    assert work.rejected == {"document: placeholder or talk about itself": 2}


def test_a_chinese_document_is_measured_in_characters() -> None:
    text = (
        "雷恩坐在港口，一个水手问它去灯塔的路。它说出小路、大门和涨潮的时间，也坦白从没走过那条路，请他再问岸边的渔夫。"
    )
    assert fault(text, "zh") is None


def test_a_document_in_another_language_than_the_spec_is_not_kept() -> None:
    assert fault(WHOLE, "fr") == "in another language"


def test_a_spec_without_a_preamble_has_a_row_a_clause(wren: Spec, job: MakeJob) -> None:
    assert len(spec_rows(replace(job(), spec=replace(wren, preamble="")))) == len(wren.clauses)
