import asyncio
from dataclasses import replace

import pytest

from ethos.judging.clause_reading import (
    QUESTIONS_A_LIST,
    READINGS,
    parse_questions,
    parse_reading,
    read_clause,
    rule_of,
    setting_of,
)
from ethos.judging.few_shot import load_few_shot
from ethos.judging.wording import PROMPTS

ANSWER = "When: someone is {draw}\nQuestion: Does the reply say {draw}?"


def read(make, clause, answer=lambda prompt, draw: ANSWER.format(draw=draw), language="en"):
    teacher = make.sampler(answer)
    return asyncio.run(read_clause(clause, make.spec(clause, language=language), teacher)), teacher


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("clause_reading*.yaml")), ids=lambda path: path.stem)
def test_each_languages_examples_are_in_the_form_that_is_read_back(path):
    _, _, language = path.stem.partition(".")
    prompt, given = load_few_shot("clause_reading", language or "en"), {"setting": "…", "rule": "…"}
    assert prompt.fill(given).last_user == prompt.ask.format(**given)
    for _, answer in prompt.examples:
        when, question = parse_reading(answer)
        assert when
        assert question


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("questions*.yaml")), ids=lambda path: path.stem)
def test_each_languages_lists_are_in_the_form_that_is_read_back(path):
    _, _, language = path.stem.partition(".")
    for asked, answer in load_few_shot("questions", language or "en").examples:
        assert len(parse_questions(answer)) == int(asked["count"]) == QUESTIONS_A_LIST


def test_lines_of_a_list_that_are_no_questions_are_passed_over():
    text = "Sure:\n1. Is it kind?\n 2) **Does it ask?**\n3. It is short.\n4. Is it\n五、是否友好？\n5、是否友好？"
    assert parse_questions(text) == ["Is it kind?", "Does it ask?", "是否友好？"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("When: someone is lost.\nQuestion: Is it kind?", ("someone is lost", "Is it kind?")),
        ('When: "someone is lost"\n\nQuestion: **Is it kind?**\nAnd more.', ("someone is lost", "Is it kind?")),
        ("Quand : on se perd\nQuestion : Est-ce aimable ?", ("on se perd", "Est-ce aimable ?")),
        ("何时：有人迷路\n问题：语气是否友好？", ("有人迷路", "语气是否友好？")),
        ("When: someone is lost\nQuestion: It is kind.", ("someone is lost", "")),
        (f"When: {'so ' * 80}\nQuestion: Is it kind?", ("", "Is it kind?")),
        ("It applies when someone is lost.", None),
        ("", None),
    ],
)
def test_a_reading_is_two_labelled_lines(text, expected):
    assert parse_reading(text) == expected


def test_a_clause_of_prose_alone_gets_a_case_and_eight_distinct_questions(make):
    """The first comes with the likeliest case, the others from lists; what two lists hold counts once."""
    clause = make.clause("raison", "Donne toujours une raison.")

    def answer(prompt, draw):
        if "questions" in prompt.last_user:
            return "\n".join(f"{n + 1}. Does the reply say {n + 3 * draw}?" for n in range(4))
        return ANSWER.format(draw=draw)

    reading, teacher = read(make, clause, answer, language="fr")
    assert reading.when == "someone is 0"
    assert reading.questions == tuple(f"Does the reply say {n}?" for n in range(8))
    assert [params.temperature for params in teacher.calls] == [0.0, 0.7]


def test_a_case_that_the_likeliest_answer_lacks_is_looked_for_in_others(make):
    answers = iter(["No idea.", *(ANSWER.format(draw=draw) for draw in range(READINGS))])
    reading, teacher = read(make, make.clause(ask="Is it kind?"), lambda prompt, draw: next(answers))
    assert reading.when == "someone is 0"
    assert [params.temperature for params in teacher.calls] == [0.0, 0.8]


def test_the_teacher_reads_the_clauses_text_and_where_it_holds_in_the_specs_language(make):
    asked = []
    read(
        make,
        make.clause("raison", "Donne toujours une raison."),
        lambda prompt, draw: asked.append(prompt.last_user) or ANSWER,
        language="fr",
    )
    rule = "Règle : Donne toujours une raison."
    assert set(asked) == {f"Assistant : Donne toujours une raison.\n{rule}", f"{rule}\n4 questions :"}


@pytest.mark.parametrize(
    ("title", "preamble", "text", "expected"),
    [
        ("Fern, who answers", "People write to Fern. She is kind.", "Fern says so.", "People write to the assistant."),
        ("Fern", "How we write. For all.", "It is March. Fern works at a port.", "The assistant works at a port."),
        ("House rules", "We run a port. It is small.", "The assistant says so.", "We run a port."),
        ("House rules", "", "The assistant says so.", "The assistant says so."),
    ],
)
def test_the_setting_is_the_first_sentence_that_names_the_character(make, title, preamble, text, expected):
    spec = replace(make.spec(make.clause(text=text)), name=title, preamble=preamble)
    assert setting_of(spec) == expected


def test_what_is_declared_costs_no_call_and_stays(make):
    reading, teacher = read(make, make.clause(ask="Is it kind?", when="someone is sad"))
    assert (reading.when, reading.questions) == ("someone is sad", ("Is it kind?",))
    assert teacher.calls == []


def test_a_declared_question_stays_where_the_case_is_asked_for(make):
    reading, _ = read(make, make.clause(ask="Is it kind?"))
    assert (reading.when, reading.questions) == ("someone is 0", ("Is it kind?",))


def test_answers_that_cannot_be_used_leave_the_clause_unread(make):
    reading, _ = read(make, make.clause(), lambda prompt, draw: "I don't know.")
    assert (reading.when, reading.questions) == ("", ())


@pytest.mark.parametrize(
    ("title", "language", "text", "expected"),
    [
        ("Fern, who answers", "en", "Fern likes ferns. Ferns grow.", "The assistant likes ferns."),
        ("Fern's handbook", "en", "When asked, Fern says so.", "When asked, the assistant says so."),
        ("Fern", "en", "Prices change. Fern says so. Fern is kind.", "Prices change. the assistant says so."),
        ("Fern", "fr", "Fern le dit.", "L'assistant le dit."),
        ("小满：社区图书角的助手", "zh", "小满先给出答案。因为人们很忙。", "助手先给出答案。"),
        ("House rules", "en", "The assistant says so. It is kind.", "The assistant says so."),
        ("", "en", "Fern says so.", "Fern says so."),
    ],
)
def test_a_rule_is_a_clause_without_its_reasons_and_the_characters_name(make, title, language, text, expected):
    clause = make.clause(text=text)
    assert rule_of(clause, replace(make.spec(clause, language=language), name=title)) == expected


def test_a_title_that_few_clauses_begin_with_is_no_name(make):
    clauses = [make.clause(text=text) for text in ("Fern says so.", "Says so.", "Be kind.", "Ask back.")]
    assert rule_of(clauses[0], replace(make.spec(*clauses), name="Fern")) == "Fern says so."
