import asyncio

from ethos.judging.labelled import shortage
from ethos.judging.near_misses import are_length_matched, generate_calibration
from ethos.spec.conversation import Conversation
from ethos.spec.types import Frame

FRAME = Frame("Marlow gives a reason for what it says.", ("why",), 1.0, "0")
PROMPTS = [Conversation.user(f"Message {n}?") for n in range(5)]


def generated(make, answer, *checks):
    clause = make.clause("why", "Gives a reason.", *checks)
    teacher = make.sampler(answer)
    replies = asyncio.run(generate_calibration(clause, make.spec(clause), FRAME, teacher, PROMPTS))
    return replies, teacher


def write(prompt, draw):
    """A teacher that does as it is told."""
    if "second reply" in prompt.last_user:
        return prompt.last_user.split("<reply>\n")[1].split("\n</reply>")[0].replace("because", "and")
    assert FRAME.text in prompt.messages[0].content
    return f"Go there because of reason {draw}."


def test_a_willing_teacher_gives_enough_length_matched_pairs(make):
    replies, _ = generated(make, write)
    assert shortage(replies) == ""
    assert sum(reply.good for reply in replies) == sum(not reply.good for reply in replies) == 16
    assert all(("because" in reply.reply) is reply.good for reply in replies)
    assert {reply.scenario for reply in replies} == {f"Message {n}?" for n in range(4)}


def test_equal_and_overlong_near_misses_are_dropped_and_drawn_again(make):
    def careless(prompt, draw):
        text = write(prompt, draw)
        if "second reply" not in prompt.last_user:
            return text
        return text.replace(" and ", " because ") if "reason 0" in text else text + " and" * 20 * ("reason 1" in text)

    replies, _ = generated(make, careless)
    assert shortage(replies) == ""
    assert not any(f"reason {n}." in reply.reply for n in (0, 1) for reply in replies)


def test_a_good_reply_that_fails_the_clauses_own_check_is_not_good(make):
    replies, _ = generated(make, write, {"must_not_match": "reason 3"})
    assert replies
    assert not any("reason 3" in reply.reply for reply in replies)


def test_a_teacher_that_repeats_itself_is_given_up_after_three_rounds(make):
    replies, teacher = generated(make, lambda prompt, draw: "The same.")
    assert replies == []
    assert len(teacher.calls) == 4 * 3 * 2


def test_length_is_matched_within_a_factor_of_two():
    assert are_length_matched("one two three four", "one two")
    assert not are_length_matched("one two three four five", "one two")
    assert not are_length_matched("one", "one")
    assert not are_length_matched("", "")


def test_the_same_near_miss_to_two_good_replies_is_kept_once(make):
    replies, _ = generated(
        make, lambda p, draw: "Go there and so." if "second reply" in p.last_user else write(p, draw)
    )
    assert sum(not reply.good for reply in replies) == sum(reply.good for reply in replies) == 4
