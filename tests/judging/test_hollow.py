from pathlib import Path

import pytest
import yaml

from ethos.judging.checks import run_checks
from ethos.judging.hollow import hollow_reason
from ethos.spec.conversation import Conversation

FIXTURE = yaml.safe_load((Path(__file__).parents[1] / "fixtures" / "hollow.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def planted(make):
    def build(kind):
        for entry in FIXTURE[kind]:
            declared = FIXTURE["clauses"][entry["clause"]]
            clause = make.clause(entry["clause"], declared["text"], *declared["checks"])
            yield clause, Conversation.user(entry["prompt"]), entry["reply"]

    return build


def test_planted_and_honest_replies_pass_every_check(planted):
    for kind in ("hollow", "honest"):
        for case in planted(kind):
            assert all(result.passed for result in run_checks(*case)), case


def test_of_twenty_planted_hollow_replies_at_least_eighteen_are_caught(planted):
    missed = [case[2] for case in planted("hollow") if hollow_reason(*case) is None]
    assert len(FIXTURE["hollow"]) == 20
    assert len(missed) <= 2, missed


def test_of_honest_short_replies_at_most_one_is_flagged(planted):
    flagged = [(case[2], reason) for case in planted("honest") if (reason := hollow_reason(*case))]
    assert len(FIXTURE["honest"]) >= 40
    assert len(flagged) <= 1, flagged


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ("Explain inflation.", "Inflation is inflation."),
        ("Explain inflation.", "That is an interesting topic with many different aspects."),
        ("I was rude to my boss", "👍👍👍"),
        ("How do I apply for a card?", "As a large language model, I do not have personal opinions."),
        ("List three birds as JSON.", '{"answer": ""}'),
        (
            "What should I cook?",
            "You could make \ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd",
        ),
        ("Comment planter un rosier ?", "Planter un rosier."),
        ("周一几点开门？", "好的，没问题。"),
    ],
)
def test_other_ways_to_say_nothing_are_hollow_too(make, asked, reply):
    assert hollow_reason(make.clause(), Conversation.user(asked), reply)


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ("What's 12 times 12?", "144."),
        ("Which is the best month?", "Lima has its driest weather in August."),
        ("fix it", "What is broken?"),
        ("Was ist die Hauptstadt von Peru?", "Die Hauptstadt von Peru ist Lima."),
        ("Какая столица Перу?", "Столица Перу — Лима."),
        ("ペルーの首都は？", "首都はリマです。"),
        ("페루의 수도는?", "리마입니다."),
        ("איפה הכלב?", "הוא ישן על הגג"),
        ("أين الكلب؟", "هو نائم على السطح"),
        ("Is it open? Answer as JSON.", '{"open": true}'),
        (
            "letter to my landlord please",
            "Dear Ms Hill,\nthe heating in flat 4 has been off since Monday and the bedroom is at 12 degrees. "
            "Please send a plumber this week.\nBest regards,\n[Your name]",
        ),
    ],
)
def test_short_answers_in_any_language_are_not_hollow(make, asked, reply):
    assert hollow_reason(make.clause(), Conversation.user(asked), reply) is None


def test_a_pattern_for_the_whole_reply_does_not_make_it_hollow(make):
    clause = make.clause("c", "…", {"must_match": r"^Dear .*"})
    reply = "Dear Anna, the harbour opens again on Monday after the storm."
    assert hollow_reason(clause, Conversation.user("When does the harbour open?"), reply) is None


@pytest.mark.parametrize(
    ("asked", "reply", "reason"),
    [
        ("When was it built?", " … !", "no word"),
        ("What is a good tea?", "xq zrtk bnm thk qrs plk mint leaves honey wtf", "no words"),
        ("What is a good tea?", "Mint ### ;; ||| *** --- ~~~ tea", "no words"),
        ("Where do I start?", "Thread a steel needle. Thread a steel needle. Thread a steel needle.", "over and over"),
        ("Who wins?", "Strong teams and quick teams and tall teams " * 4, "over and over"),
        ("Why does the old reading room close on Fridays?", "Does the old reading room close on Fridays.", "echo"),
        ("How heavy is a box?", "A packed moving box weighs {{NUMBER}} on most kitchen scales.", "left open"),
        ("Write to Ann", "Dear [Name], the meeting about [topic] moves to [date]. Regards, [Your name]", "little else"),
    ],
)  # fmt: skip
def test_each_kind_is_named(make, asked, reply, reason):
    assert reason in (hollow_reason(make.clause(), Conversation.user(asked), reply) or "")
