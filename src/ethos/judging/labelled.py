"""Labelled replies: what calibrations are made from, by hand in a YAML file or by the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ethos.errors import EthosError
from ethos.judging.checks import run_checks
from ethos.spec.conversation import Conversation
from ethos.spec.types import Clause, Spec

REPLIES_NEEDED = 16  # good, and as many bad
SCENARIOS_NEEDED = 4


@dataclass(frozen=True, slots=True)
class CalibrationReply:
    """A reply to a message, and whether it follows the clause."""

    clause_id: str
    scenario: str  # the message it answers
    reply: str
    good: bool


def reaching_judge(clause: Clause, replies: Sequence[CalibrationReply]) -> list[CalibrationReply]:
    """The clause's own replies that pass its checks: of others the judge is never asked."""
    return [
        reply
        for reply in replies
        if reply.clause_id == clause.id
        and all(check.passed for check in run_checks(clause, Conversation.user(reply.scenario), reply.reply))
    ]


def shortage(replies: Sequence[CalibrationReply]) -> str:
    """What one clause's distinct replies lack for a calibration; "" if nothing."""
    distinct = set(replies)
    good = sum(reply.good for reply in distinct)
    bad = len(distinct) - good
    scenarios = len({reply.scenario for reply in distinct})
    if good >= REPLIES_NEEDED and bad >= REPLIES_NEEDED and scenarios >= SCENARIOS_NEEDED:
        return ""
    return (
        f"{good} good and {bad} bad replies that pass its checks, over {scenarios} scenarios, "
        f"but {REPLIES_NEEDED} and {REPLIES_NEEDED} over {SCENARIOS_NEEDED} are needed"
    )


def load_calibration(path: Path | None, spec: Spec) -> list[CalibrationReply]:
    """Reads `{clause id: [{prompt: …, good: [...], bad: [...]}, …]}`; no file, no replies.

    Raises:
        EthosError: if the file can't be read, names a clause that the spec hasn't, labels a reply both ways, or
            has fewer than 16 good and 16 bad replies over 4 scenarios for a judged clause that it names, not counting
            those that fail the clause's checks.
    """
    if path is None:
        return []
    known = {clause.id: clause for clause in spec.clauses}
    replies: list[CalibrationReply] = []
    for clause_id, scenarios in _read(path).items():
        if clause_id not in known:
            raise EthosError(
                f"{path}: there is no clause {clause_id!r} in {spec.path.name}; use one of {', '.join(known)}"
            )
        own = [
            CalibrationReply(clause_id, scenario.prompt, reply, good)
            for scenario in scenarios
            for labelled, good in ((scenario.good, True), (scenario.bad, False))
            for reply in labelled
        ]
        clause = known[clause_id]
        if clause.judged and (missing := shortage(reaching_judge(clause, own))):
            raise EthosError(f"{path}: clause {clause_id} has {missing}; add some, or leave the clause out")
        replies += own
    return replies


class _Scenario(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


def _read(path: Path) -> dict[str, tuple[_Scenario, ...]]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise EthosError(f"{path}: can't be read as YAML ({what}); name a file of labelled replies") from error
    try:
        found = TypeAdapter(dict[str, tuple[_Scenario, ...]]).validate_python(data or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        shape = "{prompt: …, good: [...], bad: [...]}"
        raise EthosError(f"{path}: {where}: {first['msg']}; give each clause id a list of {shape}") from error
    for clause_id, scenarios in found.items():
        for scenario in scenarios:
            if both := set(scenario.good) & set(scenario.bad):
                raise EthosError(f"{path}: clause {clause_id}: {min(both)!r} is both good and bad; give it one label")
    return found
