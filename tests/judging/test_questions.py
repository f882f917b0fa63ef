import asyncio

from ethos.judging.questions import draft_questions, parse_questions


def test_only_numbered_questions_are_kept_four_at_most_and_once_each():
    text = (
        "Here are four questions:\n1. Does the reply give a reason?\n2) **Is the reply kind?**\n"
        "3. It should be short.\n4. Does the reply give a reason?\n5、这条回复说明理由了吗？\n6. Six?\n7. Seven?"
    )
    assert parse_questions(text) == (
        "Does the reply give a reason?",
        "Is the reply kind?",
        "这条回复说明理由了吗？",
        "Six?",
    )


def test_the_teacher_drafts_from_the_clause_in_the_specs_language(make):
    clause = make.clause("raison", "Donne toujours une raison.")
    asked = []
    teacher = make.sampler(lambda prompt, draw: asked.append(prompt) or "1. La réponse donne-t-elle une raison ?")
    questions = asyncio.run(draft_questions(clause, make.spec(clause, language="fr"), teacher))
    assert questions == ("La réponse donne-t-elle une raison ?",)
    assert "Donne toujours une raison." in asked[0].last_user
    assert "La règle" in asked[0].last_user


def test_a_declared_question_costs_no_call(make):
    clause = make.clause(ask="Is it kind?")
    teacher = make.sampler(lambda prompt, draw: "1. Another?")
    assert asyncio.run(draft_questions(clause, make.spec(clause), teacher)) == ("Is it kind?",)
    assert teacher.calls == []
