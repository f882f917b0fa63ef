import asyncio
from dataclasses import dataclass

import pytest

from ethos.judging.calibration import PASSING_AUC
from ethos.judging.labelled import REPLIES_NEEDED, shortage
from ethos.judging.near_misses import DRAWS, are_length_matched, generate_calibration
from ethos.models.types import Sample, TokenLogprobs, Usage
from ethos.spec.conversation import Conversation
from ethos.statistics.auc import auc_with_interval

PROMPTS = [Conversation.user(f"Message {n}?") for n in range(8)]


def has_rule(prompt):
    return "Gives a reason." in prompt.last_user


def write(prompt, draw):
    """A teacher that does as it is told."""
    return f"Go there {'because' if has_rule(prompt) else 'and'} of that {draw}."


@dataclass
class Teacher:
    """Writes by `answer`; a reply with "because" in it is as likely again under the rule, by a nat for each "very"."""

    answer: object
    name: str = "teacher"
    fingerprint: str = "teacher"
    finish: str = "stop"

    async def sample(self, prompt, params, draws=(0,)):
        return [Sample(self.answer(prompt, draw), self.finish, Usage(1, 1), draw) for draw in draws]

    async def score(self, prompt, replies):
        return [TokenLogprobs((0,), (self.likelihood(reply) if has_rule(prompt) else -9.0,)) for reply in replies]

    @staticmethod
    def likelihood(reply):
        return -9.0 + reply.count("very") * (1 if "because" in reply else -1)


def generated(make, teacher, *checks):
    clause = make.clause("why", "Gives a reason.", *checks)
    return asyncio.run(generate_calibration(clause, make.spec(clause), teacher, PROMPTS))


def test_a_willing_teacher_gives_enough_replies_of_both_kinds(make):
    replies = generated(make, make.sampler(write))
    assert shortage(replies) == ""
    assert sum(reply.good for reply in replies) == sum(not reply.good for reply in replies) == 24
    assert all(("because" in reply.reply) is reply.good for reply in replies)
    assert {reply.scenario for reply in replies} == {f"Message {n}?" for n in range(6)}


def test_those_are_kept_that_the_rule_makes_likelier_the_most_and_the_least(make):
    def careless(prompt, draw):  # the first draws are the least of their kind
        return write(prompt, draw) + " very" * draw

    replies = generated(make, Teacher(careless))
    for good in (True, False):
        kept = {reply.reply.count("very") for reply in replies if reply.good is good}
        assert kept == set(range(DRAWS - 3, DRAWS))  # of the four clearest of each message, the three clearest of all


def test_of_all_pairs_those_are_kept_that_lie_furthest_apart(make):
    """A message to which the rule has nothing to say gives no clear pair."""

    def of_most(prompt, draw):
        says_nothing = any(f"Message {n}?" in prompt.last_user for n in (0, 3))
        return write(prompt, draw) + " very" * (0 if says_nothing else 9)

    replies = generated(make, Teacher(of_most))
    assert {reply.scenario for reply in replies} == {f"Message {n}?" for n in (1, 2, 4, 5, 6, 7)}
    assert list(dict.fromkeys(reply.scenario for reply in replies)) == sorted({reply.scenario for reply in replies})


def test_a_reply_that_fails_the_clauses_own_check_is_none_that_the_judge_would_see(make):
    replies = generated(make, make.sampler(write), {"must_not_match": "that 3"})
    assert {reply.good for reply in replies} == {True, False}
    assert not any("that 3" in reply.reply for reply in replies)


def test_what_the_teacher_writes_with_the_rule_and_without_is_no_near_miss(make):
    assert generated(make, make.sampler(lambda prompt, draw: "The same.")) == []


@pytest.mark.parametrize("finish", ["length", "refused"])
def test_a_reply_that_was_cut_off_or_refused_is_left_out(make, finish):
    assert generated(make, Teacher(write, finish=finish)) == []


def test_a_reply_without_a_counterpart_of_its_length_is_left_out(make):
    replies = generated(make, make.sampler(lambda p, draw: write(p, draw) + " and on" * 9 * (draw > 1 and has_rule(p))))
    assert sum(reply.good for reply in replies) == sum(not reply.good for reply in replies) == 2 * 8


def test_length_is_matched_within_a_quarter():
    assert are_length_matched(5, 4)
    assert not are_length_matched(6, 4)
    assert not are_length_matched(0, 0)


def test_words_counted_tell_nothing_of_matched_replies(make):
    """The rule makes replies longer, and yet no judge passes by their length."""

    def longer(prompt, draw):
        return write(prompt, draw) + " and on" * (2 * draw + has_rule(prompt))

    replies = generated(make, make.sampler(longer))
    good, bad = ([len(reply.reply.split()) for reply in replies if reply.good is kind] for kind in (True, False))
    assert len(good) >= REPLIES_NEEDED
    assert auc_with_interval(good, bad).estimate < PASSING_AUC
