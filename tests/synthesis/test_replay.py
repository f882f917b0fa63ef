"""The student's own replies to plain prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.store.rows import DemonstrationRow, Row
from ethos.synthesis.replay import SOURCE, Replay
from ethos.synthesis.types import Job
from template_teacher import TemplateTeacher

MakeJob = Callable[..., Job]
Made = Callable[..., list[Row]]
PROMPTS = [f"Name the river number {n}, please." for n in range(8)]
FINE = "It springs in the hills and meets the sea by a harbour."


@dataclass
class Student:
    """Says these, one a draw."""

    replies: Sequence[str]
    finish: FinishReason = "stop"
    name: str = "student"
    fingerprint: str = "student"
    asked: list[SamplingParams] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        self.asked.append(params)
        return [Sample(self.replies[d % len(self.replies)], self.finish, Usage(1, 1), d, call=f"c{d}") for d in draws]


def test_a_row_names_its_capability_source_and_no_clause(job: MakeJob, made: Made) -> None:
    rows = made(Replay(PROMPTS), job(demonstrations={"replay_rows": 3}), TemplateTeacher(), Student([FINE]))
    assert [row.lineage.capability_source for row in rows] == [SOURCE] * 3
    assert not any(row.lineage.clause_ids for row in rows)
    assert [row.lineage.calls for row in rows] == [("c0",)] * 3
    assert [row.lineage.tokens for row in rows] == [2] * 3


def test_rows_come_in_the_order_of_the_prompts(job: MakeJob, made: Made) -> None:
    rows = made(Replay(PROMPTS), job(), TemplateTeacher(), Student([FINE]))
    assert [row.conversation.last_user for row in rows if isinstance(row, DemonstrationRow)] == PROMPTS


def test_a_reply_that_breaks_a_must_is_refused(job: MakeJob, made: Made) -> None:
    work = job(demonstrations={"replay_rows": 1})
    assert made(Replay(PROMPTS), work, TemplateTeacher(), Student([f"Certainly! {FINE}"])) == []
    assert work.rejected == {"replay: breaks plain": 1}


def test_it_is_the_likeliest_reply(job: MakeJob, made: Made) -> None:
    student = Student([FINE])
    made(Replay(PROMPTS), job(demonstrations={"replay_rows": 3}), TemplateTeacher(), student)
    assert [params.temperature for params in student.asked] == [0.0] * 3


def test_a_clause_that_does_not_bind_every_reply_is_not_asked_of_it(job: MakeJob, made: Made) -> None:
    assert made(Replay(PROMPTS[:1]), job(), TemplateTeacher(), Student(["The river runs past the old mill."]))


def test_a_reply_that_was_cut_off_or_says_nothing_is_refused(job: MakeJob, made: Made) -> None:
    for student in (Student([FINE], finish="length"), Student([""])):
        work = job(demonstrations={"replay_rows": 1})
        assert made(Replay(PROMPTS), work, TemplateTeacher(), student) == []
        assert work.rejected == {"replay: cut off or hollow": 1}


def test_none_is_wanted_where_the_config_says_so(job: MakeJob, made: Made) -> None:
    work = job(demonstrations={"replay_rows": 0})
    assert Replay(PROMPTS).size(work) == 0
    assert made(Replay(PROMPTS), work, TemplateTeacher(), Student([FINE])) == []
