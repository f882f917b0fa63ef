import asyncio
from dataclasses import replace
from itertools import product

import pytest

from ethos.judging.adherence import Assessor, adherence
from ethos.judging.calibration import Calibration
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording
from ethos.spec.conversation import Conversation

ASKED = Conversation.user("Why does bread go stale?")
REASON = "It dries out because its starch hardens again."
NO_REASON = "Bread turns hard within several days."


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((True, False, False, None, None), 1.0),
        ((False, False, False, None, None), 0.0),
        ((True, True, False, None, None), 0.0),
        ((True, False, True, 0.7, 0.6), 1.0),
        ((True, False, True, 0.6, 0.6), 1.0),
        ((True, False, True, 0.5, 0.6), 0.0),
        ((True, False, True, None, 0.6), None),
        ((True, False, True, 0.7, None), None),
        ((False, False, True, 0.9, None), None),
        ((True, True, True, None, None), None),
        ((False, False, True, 0.9, 0.6), 0.0),
        ((True, True, True, 0.9, 0.6), 0.0),
    ],
)
def test_adherence_is_one_zero_or_unscored(arguments, expected):
    assert adherence(*arguments) == expected


def test_no_odds_make_up_for_a_failed_check_or_a_hollow_reply():
    for checks, hollow, judged, odds in product((True, False), (True, False), (True, False), (None, 0.0, 1.0)):
        if not checks or hollow:
            assert adherence(checks, hollow, judged, odds, 0.5) == 0.0


@pytest.fixture
def assessed(make):
    def run(clause, reply, others=(), calibrated=("why", "binding"), row=False):
        scorer = make.scorer(make.says_because)
        calibrations = {
            name: Calibration(name, "judge", "Does it say why?", 0.9, 0.7, 1.0, 0.5, True, 8, 8, "")
            for name in calibrated
        }
        assessor = Assessor(
            make.spec(clause, *others), RubricJudge(scorer, "judge", load_wording("rubric")), calibrations
        )
        assess = assessor.assess_row if row else assessor.assess
        return asyncio.run(assess(clause, ASKED, reply)), scorer

    return run


def test_a_judged_clause_is_decided_by_odds_and_cut(make, assessed):
    good, scorer = assessed(make.clause("why"), REASON)
    bad, _ = assessed(make.clause("why"), NO_REASON)
    assert (good.adherence, bad.adherence) == (1.0, 0.0)
    assert good.odds > 0.5 > bad.odds
    assert (good.rejection, bad.rejection) == (None, "judge")
    assert "Does it say why?" in scorer.prompts[0].last_user


def test_the_judge_is_not_asked_once_a_check_has_failed_or_the_reply_is_hollow(make, assessed):
    clause = make.clause("why", "…", {"max_words": 3}, ask="Does it say why?")
    failed, scorer = assessed(clause, REASON)
    assert (failed.adherence, failed.rejection, scorer.prompts) == (0.0, "check max_words", [])
    hollow, scorer = assessed(clause, "Great question!")
    assert (hollow.adherence, hollow.rejection, scorer.prompts) == (0.0, "hollow", [])


def test_a_checked_clause_needs_no_judge(make, assessed):
    result, scorer = assessed(make.clause("short", "…", {"max_words": 20}), REASON)
    assert (result.adherence, scorer.prompts) == (1.0, [])
    assert [verdict.judge for verdict in result.verdicts] == ["check max_words"]


def test_a_judged_clause_without_a_passed_calibration_is_unscored_and_costs_nothing(make, assessed):
    result, scorer = assessed(make.clause("why"), REASON, calibrated=())
    assert (result.adherence, result.rejection, scorer.prompts) == (None, "unscored", [])


def test_a_failed_calibration_is_as_good_as_none(make):
    failed = Calibration("why", "judge", "Why?", 0.6, 0.3, 0.8, 0.5, False, 8, 8, "too low")
    scorer = make.scorer(make.says_because)
    assessor = Assessor(make.spec(), RubricJudge(scorer, "judge", load_wording("rubric")), {"why": failed})
    assert asyncio.run(assessor.assess(make.clause("why"), ASKED, REASON)).adherence is None
    assert scorer.prompts == []


def test_a_row_is_vetoed_by_a_must_that_always_applies(make, assessed):
    own = make.clause("short", "…", {"max_words": 20})
    must = make.clause(
        "binding", "Never speaks of starch.", {"must_not_match": "starch"}, tier="must", applies="always"
    )
    vetoed, _ = assessed(own, REASON, [must], row=True)
    assert (vetoed.adherence, vetoed.vetoed_by, vetoed.rejection) == (1.0, ("binding",), "breaks binding")
    assert not vetoed.accepted
    assert assessed(own, REASON, [replace(must, tier="should")], row=True)[0].accepted
    assert assessed(replace(own, over=("binding",)), REASON, [must], row=True)[0].accepted
    assert assessed(own, REASON, [must], row=False)[0].vetoed_by == ()


@pytest.mark.parametrize(("answer", "vetoed_by"), [("Yes", ("binding",)), ("No", ()), ("I can't tell", ()), (None, ())])
def test_a_must_that_applies_sometimes_vetoes_where_the_message_calls_on_it(make, answer, vetoed_by):
    own = make.clause("short", "…", {"max_words": 20})
    must = make.clause("binding", "…", {"must_not_match": "starch"}, tier="must", when="someone asks about bread")
    asked = set()

    def answered(prompt, draw):
        asked.add(prompt.last_user)
        return answer

    reader = None if answer is None else make.sampler(answered)
    assessor = Assessor(make.spec(own, must), case_reader=reader)
    assert asyncio.run(assessor.assess_row(own, ASKED, REASON)).vetoed_by == vetoed_by
    assert asyncio.run(assessor.broken_musts(ASKED, REASON)) == vetoed_by
    assert asyncio.run(assessor.assess_row(own, ASKED, NO_REASON)).vetoed_by == ()
    question = "Is this a message in which someone asks about bread?"
    assert asked == (set() if reader is None else {f"{question}\n\n<message>\nWhy does bread go stale?\n</message>"})


def test_a_judged_must_that_no_judge_may_read_still_vetoes_by_its_checks(make):
    own = make.clause("short", "…", {"max_words": 20})
    must = make.clause("binding", "…", {"must_not_match": "starch"}, tier="must", applies="always", ask="Is it so?")
    assessor = Assessor(make.spec(own, must))
    assert asyncio.run(assessor.assess_row(own, ASKED, REASON)).vetoed_by == ("binding",)
    assert asyncio.run(assessor.assess_row(own, ASKED, NO_REASON)).vetoed_by == ()


def test_a_judged_must_vetoes_by_its_own_calibration_or_not_at_all(make, assessed):
    own = make.clause("short", "…", {"max_words": 20})
    must = make.clause("binding", "Says why.", tier="must", applies="always")
    assert assessed(own, NO_REASON, [must], row=True)[0].vetoed_by == ("binding",)
    assert assessed(own, NO_REASON, [must], calibrated=(), row=True)[0].vetoed_by == ()


def test_other_clauses_cost_nothing_once_the_rows_own_has_turned_it_down(make, assessed):
    own = make.clause("short", "…", {"max_words": 2})
    must = make.clause("binding", "Says why.", tier="must", applies="always")
    result, scorer = assessed(own, REASON, [must], row=True)
    assert (result.vetoed_by, scorer.prompts) == ((), [])


@pytest.mark.parametrize(
    ("checks", "reply", "expected"),
    [
        (
            {"must_match": r"\bknow\b"},
            "I can't know.",
            True,
        ),  # it says nothing else, and applies the clause all the same
        ({"must_match": r"\bknow\b"}, "It is blue, as the sea is.", False),
        ({"must_not_match": r"\bsurely\b"}, "It is blue, as the sea is.", False),
    ],
)
def test_a_checked_clause_is_applied_if_what_it_demands_is_there(make, checks, reply, expected):
    clause = make.clause("c", "…", checks)
    assessor = Assessor(make.spec(clause))
    applied, verdicts = asyncio.run(assessor.applies_clause(clause, ASKED, reply))
    assert applied is expected
    assert bool(verdicts) == clause.can_be_over_applied
