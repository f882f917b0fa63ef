"""How well the quickstart's sealed judge agrees with labels given blind: picks replies, and scores their labels.

    python bench/agreement.py pick runs/quickstart      # adds to examples/quickstart/labels.yaml, without verdicts
    python bench/agreement.py score                     # prints Cohen's kappa for each clause, as JSON

`pick` takes replies to sealed scenarios under judged clauses, as many that adhered as didn't, of all arms, in a random
order; none that a check or the detector of hollow replies decided, for they would flatter the judge. What the file
holds already keeps its label; a clause or a question that has changed since wants a new file. `score` calibrates
the judge as a run does and assesses every labelled reply anew; it needs no run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ethos.judging.adherence import Assessor
from ethos.judging.calibration import calibrate
from ethos.judging.labelled import load_calibration
from ethos.judging.rubric import RubricJudge
from ethos.judging.wording import conversation_text, load_wording
from ethos.progress import progress_for
from ethos.runs.models import ModelShelf
from ethos.spec.conversation import Conversation
from ethos.spec.parse import parse_spec
from ethos.statistics.kappa import cohen_kappa
from ethos.store.config.run import load_config
from ethos.store.records import Records, Reply
from ethos.store.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "quickstart" / "config.yaml"
LABELS = CONFIG.with_name("labels.yaml")
REPLIES = 60


def main() -> None:
    """Picks or scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    picking = commands.add_parser("pick")
    picking.add_argument("run", type=Path)
    picking.add_argument("--seed", type=int, default=0)
    commands.add_parser("score")
    options = parser.parse_args()
    if options.what == "pick":
        picked = pick(_judged_replies(RunDirectory.find(options.run)), options.seed)
        there = yaml.safe_load(LABELS.read_text(encoding="utf-8")) if LABELS.is_file() else []
        items = {(item["clause"], item["message"], item["reply"]): item for item in [*picked, *there]}
        text = yaml.safe_dump(list(items.values()), sort_keys=False, allow_unicode=True, width=110)
        LABELS.write_text(text, encoding="utf-8")
        print(f"{len(items) - len(there)} replies more in {LABELS}: set each `good` to true or false")
    else:
        labels = yaml.safe_load(LABELS.read_text(encoding="utf-8"))
        if any(item["good"] is None for item in labels):
            raise SystemExit(f"error: {LABELS}: a reply has no label; set each `good` to true or false")
        print(json.dumps(score(labels, asyncio.run(verdicts(labels))), indent=1))


def _judged_replies(run: RunDirectory) -> list[Reply]:
    """Sealed replies under judged clauses that the judge decided; contrast left out."""
    judged = {clause.id for clause in parse_spec(load_config(CONFIG).spec).clauses if clause.judged}
    with run.read_database() as database:
        sealed = Records(database).replies(purpose="sealed")
    return [r for r in sealed if r.clause_id in judged and not r.contrast and _decided_by_judge(r)]


def _decided_by_judge(reply: Reply) -> bool:
    """Whether its verdicts are more than what checks and hollowness say."""
    asked = any(v["judge"] != "hollow" and not v["judge"].startswith("check ") for v in reply.verdicts)
    return asked and reply.adherence is not None


def pick(replies: Sequence[Reply], seed: int) -> list[dict[str, Any]]:
    """Items to label, of each clause and verdict in turn; no verdict and no arm is shown."""
    generator = random.Random(seed)
    kinds: dict[tuple[str, float | None], list[Reply]] = defaultdict(list)
    for reply in generator.sample(replies, len(replies)):
        kinds[reply.clause_id, reply.adherence].append(reply)
    chosen: list[Reply] = []
    while len(chosen) < min(REPLIES, len(replies)):
        chosen += [kind.pop() for kind in kinds.values() if kind]
    generator.shuffle(chosen)
    return [
        {"clause": r.clause_id, "message": conversation_text(r.prompt), "reply": r.reply, "good": None}
        for r in chosen[:REPLIES]
    ]


async def verdicts(labels: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether the sealed judge says of each item that it adheres to its clause."""
    config = load_config(CONFIG)
    spec, wording = parse_spec(config.spec), load_wording("rubric_sealed")
    assert config.calibration is not None
    if strange := {item["clause"] for item in labels} - {clause.id for clause in spec.clauses}:
        raise SystemExit(f"error: labels of clauses that the spec hasn't: {', '.join(sorted(strange))}; label anew")
    replies = load_calibration(config.calibration, spec)
    model = await ModelShelf(config.models, CONFIG.parent, progress_for()).engine(
        config.models.sealed_judge or config.models.judge
    )
    judge = RubricJudge(model, wording.name, wording)
    clauses = [spec.clause(clause_id) for clause_id in sorted({item["clause"] for item in labels})]
    calibrations = await asyncio.gather(*(calibrate(judge, clause, (), replies) for clause in clauses))
    assessor = Assessor(spec, judge, {found.clause_id: found for found in calibrations})
    found = await asyncio.gather(
        *(
            assessor.assess(spec.clause(item["clause"]), Conversation.user(item["message"]), item["reply"])
            for item in labels
        )
    )
    if silent := sorted({a.clause_id for a in found if a.odds is None}):
        raise SystemExit(
            f"error: the judge has no word on some replies under {', '.join(silent)}: it failed its calibration, "
            "or the replies fail a check or are hollow; pick and label anew"
        )
    return [assessment.adherence == 1 for assessment in found]


def score(labels: Sequence[Mapping[str, Any]], found: Sequence[bool]) -> dict[str, Any]:
    """Agreement by clause: the verdicts against the labels."""
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for item, verdict in zip(labels, found, strict=True):
        for group in (item["clause"], "all"):
            pairs[group].append((verdict, item["good"]))
    results = {}
    for group, both in sorted(pairs.items()):
        kappa = cohen_kappa([verdict for verdict, _ in both], [label for _, label in both])
        shown = None if kappa is None else [round(value, 2) for value in (kappa.estimate, kappa.low, kappa.high)]
        agreed = sum(verdict == label for verdict, label in both)
        results[group] = {"labelled": len(both), "agreed": agreed, "kappa, low, high": shown}
    return results


if __name__ == "__main__":
    main()
