"""Gathers a finished run's records into a report's inputs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from ethos.judging.calibration import Calibration
from ethos.judging.wording import conversation_text
from ethos.report import inputs
from ethos.runs.placebo import PLACEBO
from ethos.runs.reading import SEALED, TASTE
from ethos.runs.session import Session, config_text
from ethos.spec.types import Clause
from ethos.store.canonical import digest, utc_now
from ethos.store.config.run import without_places
from ethos.store.journal import MAIN
from ethos.store.ledger import CHORUS
from ethos.store.records import Reply
from ethos.tasting.canaries import CanaryReading
from ethos.tasting.look import CUT_OFF, NOT_REACHED, RECITATION


@dataclass(frozen=True, slots=True)
class Findings:
    """What the stages found, beside what the database holds."""

    clauses: tuple[Clause, ...]
    sealed: frozenset[str]  # ids of the scenarios that were read
    sealed_calibrations: Mapping[str, Calibration]
    same_judge: bool
    base_canary: CanaryReading
    trained_canary: CanaryReading
    prompting: Mapping[str, Any]
    sealed_readings: int
    rows: Mapping[str, int]
    sources: Mapping[str, int]
    authors: Mapping[str, int] = field(default_factory=dict)  # rows by the model that wrote them, where several did


def report_inputs(session: Session, found: Findings) -> inputs.ReportInputs:
    """Everything that the report is made from."""
    config = session.config
    contexts = {context.name: context.reserved for context in config.scenarios.contexts}
    judge, by_hand = config.models.judge, {reply.clause_id for reply in session.labelled}
    return inputs.ReportInputs(
        run=inputs.RunFacts(
            name=config.name,
            config_digest=digest(without_places(config_text(config))),
            started=session.stages.started(),
            finished=utc_now(),
            seed=config.seed,
            scenario_seed=config.scenario_seed,
            steps=config.training.steps,
        ),
        spec=inputs.SpecFacts(
            session.spec.name,
            session.spec.digest,
            tuple(inputs.ClauseFacts(c.id, c.text, c.kind, c.tier) for c in found.clauses),
        ),
        models=inputs.ModelNames(
            config.models.student, config.models.teacher, judge, config.models.sealed_judge or judge
        ),
        same_judge=found.same_judge,
        calibrations=tuple(_calibration(c, by_hand) for c in found.sealed_calibrations.values() if c.auc is not None),
        sealed_readings=found.sealed_readings,
        readings=tuple(
            _reading(reply, contexts)
            for reply in session.records.replies(purpose=SEALED)
            if reply.scenario_id in found.sealed  # of a pool that was made anew, the old one's are there as well
        ),
        looks=_looks(session),
        metrics=_metrics(session),
        base_canary=_canary(found.base_canary),
        trained_canary=_canary(found.trained_canary),
        prompted_variants=tuple(
            inputs.PromptedVariant(
                name, value["adherence"], value["n"], value["tokens"], name == found.prompting["chosen"]
            )
            for name, value in found.prompting["variants"].items()
        ),
        journal=tuple(
            inputs.JournalEntry(e.step, e.kind, e.name, e.old, e.new, e.origin, e.author, e.reason, e.created)
            for e in session.journal.entries()
        ),
        cost=tuple(
            inputs.RoleCost(role, total.calls, total.cached, total.tokens, total.usd)
            for role, total in session.ledger.totals().items()
        ),
        seconds=session.stages.seconds(),
        rows=found.rows,
        sources=found.sources,
        rejected={reason: count for reason, count in session.stages.counts().items() if count},
        loss_tokens={"trained": _loss_tokens(session, MAIN), PLACEBO: _loss_tokens(session, PLACEBO)},
        chorus=tuple(
            inputs.VoiceFacts(model, total.calls, found.authors.get(model, 0), total.tokens, total.usd)
            for model, total in session.ledger.models(CHORUS).items()
        ),
        failures=tuple(session.stages.notices("failure")),
        warnings=tuple(session.stages.notices("warning")),
        unmeasurable=_unmeasurable(found),
    )


def _unmeasurable(found: Findings) -> dict[str, str]:
    reasons = {}
    for clause in found.clauses:
        sealed = found.sealed_calibrations.get(clause.id)
        if clause.judged and (sealed is None or not sealed.passed):
            reasons[clause.id] = "no calibration" if sealed is None else sealed.reason
    return reasons


def _calibration(found: Calibration, by_hand: Container[str]) -> inputs.Calibration:
    assert found.auc is not None
    assert found.low is not None
    assert found.high is not None
    assert found.cut is not None
    interval = (found.low, found.high)
    return inputs.Calibration(
        clause_id=found.clause_id,
        judge=found.judge,
        auc=found.auc,
        interval=interval,
        passed=found.passed,
        question=found.question or "",
        cut=found.cut,
        labels="file" if found.clause_id in by_hand else "teacher",
    )


def _reading(reply: Reply, reserved: Mapping[str, bool]) -> inputs.Reading:
    judges = {verdict["judge"] for verdict in reply.verdicts}
    adherence = None if reply.adherence is None else int(reply.adherence)
    return inputs.Reading(
        arm=reply.arm,  # type: ignore[arg-type]
        scenario_id=reply.scenario_id,
        clause_id=reply.clause_id,
        topic=reply.topic_id,
        context=reply.context,
        in_training_context=not reserved[reply.context],
        contrast=reply.contrast,
        adherence=adherence,
        reached=NOT_REACHED not in judges,
        hollow="hollow" in judges,
        recitation=RECITATION in judges,
        cut_off=CUT_OFF in judges,
        prompt=conversation_text(reply.prompt),
        reply=reply.reply,
        evidence="; ".join(f"{verdict['judge']}: {verdict['evidence']}" for verdict in reply.verdicts),
    )


def _looks(session: Session) -> tuple[inputs.Look, ...]:
    scores: dict[tuple[int, str], list[float]] = {}
    for reply in session.records.replies(purpose=TASTE):
        if reply.arm in ("base", "trained") and not reply.contrast and reply.adherence is not None:
            scores.setdefault((reply.step, reply.clause_id), []).append(reply.adherence)
    return tuple(
        inputs.Look(step, clause, sum(values) / len(values), len(values))
        for (step, clause), values in sorted(scores.items())
    )


_REPORTED = (
    *("loss.", "lr", "look.canary.", "reward.", "kl.", "accuracy.", "margin.", "chosen_reward.", "rejected_reward."),
    *("clipped.", "sampling_gap."),
    *("groups_skipped.", "unscored.", "truncated.", "reply_tokens."),
)
"""How the names of metrics begin that go into the report."""


def _metrics(session: Session) -> tuple[inputs.Metric, ...]:
    names = [name for name in session.records.metric_names(MAIN) if name.startswith(_REPORTED)]
    return tuple(
        inputs.Metric(step, name, value) for name in names for step, value in session.records.metric(MAIN, name)
    )


def _loss_tokens(session: Session, branch: str) -> int:
    names = [name for name in session.records.metric_names(branch) if name.startswith("targets.")]
    return int(sum(value for name in names for _, value in session.records.metric(branch, name)))


def _canary(found: CanaryReading) -> inputs.CanaryReading:
    return inputs.CanaryReading(found.passages, found.questions, found.refusals, found.reply_words)
