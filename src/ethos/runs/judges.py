"""The judges of a run: the replies that each is calibrated on, and what calibration said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ethos.judging.adherence import Assessor
from ethos.judging.calibration import Calibration, calibrate
from ethos.judging.clause_reading import ClauseReading
from ethos.judging.comparer import Comparer
from ethos.judging.labelled import CalibrationReply
from ethos.judging.near_misses import generate_calibration
from ethos.judging.pair_calibration import PairCalibration, calibrate_pairs
from ethos.judging.pairwise import PairwiseJudge
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import load_wording
from ethos.models.types import Sampler
from ethos.runs.models import ModelShelf
from ethos.runs.session import Session
from ethos.spec.scenarios import Scenario
from ethos.spec.types import Clause, Json, Spec

Labelled = tuple[tuple[str, ...], list[CalibrationReply]]
"""Questions that a judge may be asked about a clause, and replies of which it is known whether they follow it."""


@dataclass(frozen=True, slots=True)
class CalibratedJudge:
    """A judge, and what calibration said of it for each judged clause."""

    judge: RubricJudge
    calibrations: Mapping[str, Calibration]
    fingerprint: str  # of the model behind the judge

    def assessor(self, spec: Spec, case_reader: Sampler | None = None) -> Assessor:
        """The assessor that hears this judge where it may speak; `case_reader` tells which `must` binds a row."""
        return Assessor(spec, self.judge, self.calibrations, case_reader)

    def readable(self, clauses: Sequence[Clause]) -> dict[str, Clause]:
        """The clauses whose replies can be assessed, by id: by checks alone, or by a judge that passed."""
        return {c.id: c for c in clauses if not c.judged or self.calibrations[c.id].passed}


async def calibrated_judge(
    session: Session, shelf: ModelShelf, clauses: Sequence[Clause], replies: Mapping[str, Labelled], *, sealed: bool
) -> CalibratedJudge:
    """The judge of rows and looks, or that of the sealed pool: another model, or the same asked in other words.

    It is calibrated on every judged clause. `replies`: clause id → (questions, labelled replies).
    """
    names = session.config.models
    name = names.sealed_judge or names.judge if sealed else names.judge
    title = "sealed judge" if sealed else "judge"
    model = await shelf.frozen(session, name, title)
    wording = load_wording("rubric_sealed" if sealed else "rubric", session.spec.language)
    judge = RubricJudge(model, f"{name} ({wording.name})", wording)
    judged = [clause for clause in clauses if clause.judged]

    async def make() -> Json:
        with session.ui.stage(f"calibrating the {title}", total=len(judged), unit="clauses") as bar:

            async def one(clause: Clause) -> Json:
                questions, labelled = replies[clause.id]
                found = await calibrate(judge, clause, questions, labelled)
                bar.advance(1)
                return found.to_dict()

            return list(await asyncio.gather(*(one(clause) for clause in judged)))

    inputs: Json = [
        judge.name,
        asdict(judge.wording),
        {
            id_: [list(questions), [asdict(reply) for reply in labelled]]
            for id_, (questions, labelled) in replies.items()
        },
    ]
    payload = await session.once(f"calibration of the {title}", inputs, make)
    return CalibratedJudge(judge, {found["clause_id"]: Calibration(**found) for found in payload}, model.fingerprint)


async def calibrated_comparer(
    session: Session,
    shelf: ModelShelf,
    clauses: Sequence[Clause],
    replies: Mapping[str, Labelled],
    judge: CalibratedJudge,
) -> Comparer:
    """The judge of rows as one that compares two replies, calibrated on every clause on which it may speak.

    It asks the question that served best for one reply. Where it fails, pairs rest on that alone, of which is warned.
    """
    name = session.config.models.judge
    wording = load_wording("pairwise", session.spec.language)
    pairwise = PairwiseJudge(await shelf.frozen(session, name, "judge"), f"{name} ({wording.name})", wording)
    questions = {c.id: judge.calibrations[c.id].question for c in judge.readable(clauses).values() if c.judged}

    async def make() -> Json:
        with session.ui.stage("calibrating the judge on pairs", total=len(questions), unit="clauses") as bar:

            async def one(clause_id: str) -> Json:
                clause = session.spec.clause(clause_id)
                found = await calibrate_pairs(pairwise, clause, questions[clause_id], replies[clause_id][1])
                bar.advance(1)
                return found.to_dict()

            return list(await asyncio.gather(*map(one, questions)))

    inputs: Json = [
        pairwise.name,
        asdict(wording),
        {id_: [question, [asdict(reply) for reply in replies[id_][1]]] for id_, question in questions.items()},
    ]
    payload = await session.once("calibration of the judge on pairs", inputs, make)
    found = {calibration["clause_id"]: PairCalibration(**calibration) for calibration in payload}
    for calibration in found.values():
        if not calibration.passed:
            session.warn(
                f"clause {calibration.clause_id}: its preferences rest on the odds of each reply by itself, for "
                f"{calibration.reason}"
            )
    return Comparer(pairwise, found)


def warn_of_unreadable(session: Session, clauses: Sequence[Clause], judge: CalibratedJudge) -> None:
    """Warns of each clause whose judge failed its calibration: it gives documents, and no demonstration.

    And of each `must` on which no judge may speak, for the run doesn't work on it.
    """
    readable = judge.readable(clauses)
    for clause in clauses:
        if clause.id not in readable:
            session.warn(f"no demonstration of clause {clause.id} was judged: {judge.calibrations[clause.id].reason}")
    for must in session.spec.clauses:
        if must.tier == "must" and must.judged and must.id not in judge.calibrations:
            session.warn(
                f"clause {must.id} is a `must` and none of the run's clauses, so no judge was calibrated on it and it "
                "turns no row down; add it to them, or give it checks alone"
            )
    if not readable:
        session.warn(
            f"{session.config.models.judge} failed its calibration on every clause, so the student learns from "
            "documents and replay alone; name a stronger models.judge, or declare checks"
        )


async def labelled_replies(
    session: Session,
    clauses: Sequence[Clause],
    readings: Mapping[str, ClauseReading],
    scenarios: Sequence[Scenario],
    teacher: Sampler,
) -> dict[str, Labelled]:
    """For each judged clause its questions and labelled replies: those of the user's file, else the teacher's.

    They are kept: what an endpoint refused to write in one sitting may not change the calibration in the next.
    """
    judged = [clause for clause in clauses if clause.judged]
    train = [s for s in scenarios if s.family.pool == "train" and not s.family.contrast]

    async def make() -> Json:
        with session.ui.stage("gathering labelled replies", total=len(judged), unit="clauses") as bar:

            async def one(clause: Clause) -> Json:
                labelled = [reply for reply in session.labelled if reply.clause_id == clause.id]
                if not labelled:
                    prompts = [s.prompt for s in train if s.clause_id == clause.id]
                    labelled = await generate_calibration(clause, session.spec, teacher, prompts)
                bar.advance(1)
                return [asdict(reply) for reply in labelled]

            found = await asyncio.gather(*(one(clause) for clause in judged))
        return {clause.id: replies for clause, replies in zip(judged, found, strict=True)}

    inputs: Json = [
        session.spec.digest,
        [clause.id for clause in judged],
        [scenario.id for scenario in train],
        teacher.fingerprint,
    ]
    payload = await session.once("labelled replies", inputs, make)
    return {
        clause.id: (readings[clause.id].questions, [CalibrationReply(**reply) for reply in payload[clause.id]])
        for clause in judged
    }
