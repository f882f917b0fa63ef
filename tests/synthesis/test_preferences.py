"""Pairs of the student's replies, of which one follows the clause better."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ethos.judging.adherence import Assessor
from ethos.judging.calibration import Calibration
from ethos.judging.pairwise import Preference
from ethos.judging.types import Verdict
from ethos.models.types import FinishReason, Sample, SamplingParams, Usage
from ethos.spec.conversation import Conversation
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Spec
from ethos.store.rows import PreferenceRow
from ethos.synthesis.preferences import Preferences
from ethos.synthesis.types import Cast, Job
from template_teacher import TemplateTeacher

MakeJob = Callable[..., Job]
MakeScenario = Callable[..., Scenario]
GOOD = "Wren would rather open the window above the ladder first."
OTHER = "Wren keeps a lantern on the shelf, and never lets it go out."
PLAIN = "I would rather open the window above the ladder first."
POOR = "There is a shelf behind the barrel, as far as I know."


@dataclass
class Student:
    """Says these, one a draw; with a frame in sight `framed`; asked to revise, `revised`."""

    draws: Sequence[str]
    framed: str = GOOD
    revised: str = GOOD
    finish: FinishReason = "stop"
    name: str = "student"
    fingerprint: str = "student"
    asked: list[Conversation] = field(default_factory=list)

    async def sample(self, prompt: Conversation, params: SamplingParams, draws: Sequence[int] = (0,)) -> list[Sample]:
        """As `Sampler`."""
        self.asked.append(prompt)
        turns = [message.role for message in prompt.messages]
        if turns == ["user"]:
            texts = {draw: self.draws[draw % len(self.draws)] for draw in draws}
            return [Sample(text, self.finish, Usage(10, 5), d, call=f"draw {d}") for d, text in texts.items()]
        quotes_reply = "<reply>" in prompt.messages[1].content
        text = self.framed if not quotes_reply else self.revised if len(turns) > 2 else "It lacks a name."
        call = "framed" if not quotes_reply else "revision" if len(turns) > 2 else "critique"
        return [Sample(text, "stop", Usage(20, 5), 0, call=call)]


Paired = Callable[..., tuple[list[PreferenceRow], Job]]


@pytest.fixture
def paired(job: MakeJob, scenario: MakeScenario) -> Paired:
    """The pairs that come of one prompt of the clause `name`, and the job with what was rejected."""

    def make(
        student: Student,
        *sources: str,
        spec: Spec | None = None,
        assessor: Assessor | None = None,
        comparer: Any = None,
        **settings: float,
    ) -> tuple[list[PreferenceRow], Job]:
        asked = {"per_clause": 1, "sources": list(sources or ["draws"]), "draws": len(student.draws), **settings}
        work = job([scenario("name")], preferences=asked)
        spec = spec or work.spec
        work = replace(work, spec=spec, clauses=(spec.clause("name"),))

        async def gather() -> list[PreferenceRow]:
            cast = Cast(TemplateTeacher(), student, assessor or Assessor(spec), comparer)
            rows = [row async for row in Preferences().rows(work, cast, lambda: None)]
            return [row for row in rows if isinstance(row, PreferenceRow)]

        return asyncio.run(gather()), work

    return make


def test_of_the_draws_one_that_passes_is_held_against_one_that_fails(paired: Paired) -> None:
    [row], work = paired(Student([POOR, GOOD]))
    assert (row.chosen, row.rejected, row.probability) == (GOOD, POOR, 1.0)
    assert row.prompt == Conversation.user("Where do the swallows go?")
    assert (row.lineage.recipe, row.lineage.clause_ids, row.lineage.pool) == ("preferences", ("name",), "train")
    assert (row.lineage.calls, row.lineage.tokens) == (("draw 0", "draw 1"), 30)
    said = [(verdict["judge"], verdict["score"]) for verdict in row.lineage.verdicts if verdict["clause_id"] == "name"]  # type: ignore[index,call-overload]
    assert said == [("check must_match", 1.0), ("check must_match", 0.0)]
    assert not work.rejected


def test_a_student_that_sees_the_frame_is_held_against_itself(paired: Paired) -> None:
    student = Student([POOR])
    [row], work = paired(student, "framed", draws=2)
    assert (row.chosen, row.rejected) == (GOOD, POOR)
    assert set(row.lineage.calls) == {"framed", "draw 0"}
    assert row.lineage.frame_digest is not None
    assert work.spec.clause("name").text in student.asked[0].messages[0].content
    assert "system" not in {message.role for message in row.prompt.messages}


def test_a_revision_is_held_against_the_reply_that_it_was_made_of(paired: Paired) -> None:
    [row], _ = paired(Student([POOR]), "revision", draws=2)
    assert (row.chosen, row.rejected) == (GOOD, POOR)
    assert row.lineage.calls == ("draw 0", "critique", "revision")


def test_each_source_gives_a_pair_of_its_own(paired: Paired) -> None:
    rows, _ = paired(Student([POOR, OTHER]), "draws", "framed", "revision")
    assert [(row.chosen, row.rejected) for row in rows] == [(OTHER, POOR), (GOOD, POOR), (GOOD, POOR)]


@pytest.mark.parametrize(
    ("student", "source", "why"),
    [
        (Student([POOR, POOR]), "draws", "no reply that passes, or none to hold it against"),
        (Student([GOOD, OTHER]), "draws", "near-tie"),
        (Student([POOR], framed=POOR), "framed", "no reply that passes, or none to hold it against"),
        (Student([OTHER]), "framed", "near-tie"),
        (Student([f"Certainly! {PLAIN}"], framed=f"Certainly! {GOOD}"), "framed", "no reply that passes, or none"),
        (Student([POOR], finish="length"), "framed", "no reply that passes, or none to hold it against"),
        (Student([POOR], finish="length"), "revision", "no reply that passes, or none to hold it against"),
        (Student([PLAIN]), "framed", "nearly the same"),
    ],
)
def test_what_makes_no_pair_is_counted(paired: Paired, student: Student, source: str, why: str) -> None:
    rows, work = paired(student, source, draws=2)
    assert rows == []
    [(counted, times)] = work.rejected.items()
    assert counted.startswith(f"preferences, {source}: {why}")
    assert times == 1


def test_how_alike_two_replies_may_be_is_the_users_choice(paired: Paired) -> None:
    [row], _ = paired(Student([PLAIN]), "framed", draws=2, most_alike=0.9)
    assert row.rejected == PLAIN


@dataclass(frozen=True)
class Odds:
    """A judge whose odds stand in the reply."""

    name: str = "odds"

    async def judge(self, clause: Clause, prompt: Conversation, reply: str) -> Verdict:
        """As `Judge`."""
        return Verdict({GOOD: 0.9, OTHER: 0.55, PLAIN: 0.6, POOR: 0.2}[reply], "scripted", self.name, clause.id)


@dataclass(frozen=True)
class Compares:
    """Says how likely the first is the better one, or abstains."""

    probability: float
    abstains: bool = False

    async def compare(self, clause: Clause, prompt: Conversation, a: str, b: str) -> Preference | None:
        """As `Comparer`."""
        return Preference(self.probability, 0.0, self.abstains, f"{a} / {b}", "compares", clause.id)


@pytest.fixture
def judged(wren: Spec) -> tuple[Spec, Assessor]:
    """A spec whose first clause needs a judge, and who assesses it."""
    asking = replace(wren.clause("name"), checks=(), ask="Does it say who it is?")
    spec = replace(wren, clauses=(asking, *wren.clauses[1:]))
    passed = Calibration("name", "odds", "Q?", 1.0, 0.9, 1.0, 0.5, True, 16, 16, "")
    return spec, Assessor(spec, Odds(), {"name": passed})


@pytest.mark.parametrize(
    ("margin", "compares", "probability", "why"),
    [
        (0.1, None, 1.0, None),
        (0.1, Compares(0.8), 0.8, None),
        (0.1, Compares(0.8, abstains=True), None, "the judge abstains: it names another reply in the other order"),
        (0.1, Compares(0.3), None, "the judge that compares prefers the other"),
        (0.75, Compares(0.8), None, "near-tie"),
    ],
)
def test_under_a_judged_clause_odds_and_a_comparison_in_both_orders_have_to_agree(
    paired: Paired,
    judged: tuple[Spec, Assessor],
    margin: float,
    compares: Compares | None,
    probability: float | None,
    why: str | None,
) -> None:
    spec, assessor = judged
    rows, work = paired(
        Student([OTHER, POOR, GOOD, PLAIN]), spec=spec, assessor=assessor, comparer=compares, margin=margin
    )
    assert [(row.chosen, row.rejected, row.probability) for row in rows] == (
        [] if probability is None else [(GOOD, POOR, probability)]
    )
    assert work.rejected == ({} if why is None else {f"preferences, draws: {why}": 1})
    if compares is not None and rows:
        verdict = {"score": 0.8, "evidence": f"{GOOD} / {POOR}", "judge": "compares", "clause_id": "name"}
        assert rows[0].lineage.verdicts[-1] == verdict


def test_where_all_pass_the_least_likely_is_held_against_the_likeliest(
    paired: Paired, judged: tuple[Spec, Assessor]
) -> None:
    spec, assessor = judged
    [row], _ = paired(Student([OTHER, GOOD, PLAIN]), spec=spec, assessor=assessor)
    assert (row.chosen, row.rejected) == (GOOD, OTHER)


def test_it_writes_for_both_objectives_that_take_pairs_if_it_is_asked_to(job: MakeJob) -> None:
    asked = job(preferences={"per_clause": 2}).config
    assert Preferences().written_objectives(asked) == ("preferences", "reward_model")
    assert Preferences().written_objectives(job().config) == ()
