import asyncio
import math
import random
from dataclasses import replace
from zlib import crc32

import pytest

from ethos.judging.calibration import Calibration, calibrate, halves
from ethos.judging.labelled import CalibrationReply
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording

NARROW, BROAD = "Does the reply give a reason?", "Is the reply good?"


def labelled(scenarios=4, each=4, length=lambda good, i: i):
    return [
        CalibrationReply(
            "c", f"Message {s}", f"{s}-{i} {'because' if good else 'and'} so{' so' * length(good, i)}", good
        )
        for s in range(scenarios)
        for i in range(each)
        for good in (True, False)
    ]


def calibrated(make, log_odds, replies=None, questions=(NARROW,), checks=(), **fields):
    scorer = make.scorer(log_odds)
    judge = RubricJudge(scorer, "judge", load_wording("rubric"))
    clause = make.clause("c", "Gives a reason.", *checks, **fields)
    return asyncio.run(calibrate(judge, clause, questions, labelled() if replies is None else replies)), scorer


def test_a_judge_that_tells_good_from_bad_passes_with_a_cut_between_them(make):
    result, _ = calibrated(make, make.says_because)
    assert result.passed
    assert result.auc == 1.0
    assert result.low > 0.5
    assert 0.2 < result.cut < 0.8
    assert (result.n_good, result.n_bad, result.reason) == (8, 8, "")
    assert Calibration(**result.to_dict()) == result


def test_a_judge_that_always_says_yes_fails_with_that_reason(make):
    result, _ = calibrated(make, lambda reply: 3.0)
    assert not result.passed
    assert result.auc is None
    assert "same odds" in result.reason


def test_a_judge_whose_odds_no_cut_could_part_fails(make):
    result, _ = calibrated(make, lambda reply: -10.1 if make.says_because(reply) > 0 else -11.5)
    assert not result.passed
    assert "same odds (0.00, no)" in result.reason


def test_a_judge_whose_yes_varies_with_nothing_that_matters_fails_with_that_reason(make):
    result, _ = calibrated(make, lambda reply: 1.0 + random.Random(reply).random())
    assert not result.passed
    assert "saying yes to every reply" in result.reason


def test_a_judge_that_prefers_bad_replies_fails(make):
    result, _ = calibrated(make, lambda reply: -make.says_because(reply))
    assert not result.passed
    assert result.auc == 0.0


def test_replies_that_a_check_would_have_stopped_say_nothing_of_the_judge(make):
    easy, _ = calibrated(make, make.says_because, checks=[{"must_match": "because"}])
    assert not easy.passed
    assert "16 good and 0 bad replies that pass its checks" in easy.reason


def test_a_judge_that_counts_words_fails_on_replies_of_equal_length(make):
    result, _ = calibrated(make, lambda reply: len(reply.split()) - 4.0)
    assert not result.passed


def test_a_judge_that_leaves_most_unscored_fails_with_that_reason(make):
    result, _ = calibrated(make, lambda reply: math.nan if reply[2] in "012" else make.says_because(reply))
    assert not result.passed
    assert "12 of 16 replies unscored" in result.reason


def test_a_few_unscored_replies_are_left_out_and_counted(make):
    result, _ = calibrated(make, lambda reply: math.nan if reply.startswith("1-0 b") else make.says_because(reply))
    assert result.passed
    assert (result.n_good, result.n_bad) == (7, 8)


def test_of_several_questions_the_one_that_tells_best_is_kept(make):
    scorer = make.scorer(lambda reply: 0.0)

    class Model:
        async def score(self, prompt, replies):
            scorer.log_odds = (
                make.says_because if NARROW in prompt.last_user else (lambda reply: crc32(reply.encode()) % 7 - 3)
            )
            return await scorer.score(prompt, replies)

    judge = RubricJudge(Model(), "judge", load_wording("rubric"))
    result = asyncio.run(calibrate(judge, make.clause("c"), (BROAD, NARROW), labelled()))
    assert result.question == NARROW
    assert result.passed


def test_a_declared_question_is_the_only_one(make):
    result, scorer = calibrated(make, make.says_because, questions=(BROAD,), ask=NARROW)
    assert result.question == NARROW
    assert not any(BROAD in prompt.last_user for prompt in scorer.prompts)


def test_what_chooses_never_measures(make):
    choosing, measuring = halves(labelled())
    assert len(choosing) == len(measuring) == 16
    assert not {r.scenario for r in choosing} & {r.scenario for r in measuring}
    only_in_choosing = {r.scenario.split()[1] for r in choosing}
    result, _ = calibrated(
        make, lambda reply: make.says_because(reply) if reply[0] in only_in_choosing else float(len(reply) % 5)
    )
    assert not result.passed


@pytest.mark.parametrize(
    ("replies", "questions", "reason"),
    [
        (labelled(each=3), (NARROW,), "12 good and 12 bad"),
        (labelled(scenarios=3, each=6), (NARROW,), "over 3 scenarios"),
        ([replace(r, clause_id="other") for r in labelled()], (NARROW,), "0 good and 0 bad"),
        (labelled(), (), "no question for the judge"),
    ],
)
def test_too_little_to_calibrate_on_is_not_measurable_and_says_so(make, replies, questions, reason):
    result, scorer = calibrated(make, make.says_because, replies, questions)
    assert not result.passed
    assert reason in result.reason
    assert scorer.prompts == []


def test_a_good_auc_on_few_replies_is_not_enough_while_its_lower_bound_reaches_chance(make):
    def errs_on_a_quarter_of_the_good(reply):
        return -9.0 if "-0 because" in reply and reply[0] in "13" else make.says_because(reply)

    result, _ = calibrated(make, errs_on_a_quarter_of_the_good)
    assert result.auc == 0.75
    assert result.low < 0.5
    assert not result.passed
    assert "lower bound" in result.reason
