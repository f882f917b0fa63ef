"""How well the sealed judge agrees with a person: picks replies to label blind, and scores the labels.

    python bench/agreement.py pick runs/quickstart      # writes examples/quickstart/labels.yaml, without verdicts
    python bench/agreement.py score runs/quickstart     # prints Cohen's kappa for each clause, as JSON

`pick` takes as many replies that the judge passed as it failed, of all arms, in a random order.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from ethos.judging.wording import conversation_text
from ethos.spec.parse import parse_spec
from ethos.statistics.kappa import cohen_kappa
from ethos.store.records import Records, Reply
from ethos.store.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
LABELS = ROOT / "examples" / "quickstart" / "labels.yaml"
PER_CLAUSE = 15


def main() -> None:
    """Picks or scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pick", "score"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    replies = _judged_replies(RunDirectory.find(options.run))
    if options.what == "pick":
        LABELS.write_text(yaml.safe_dump(pick(replies, options.seed), sort_keys=False, allow_unicode=True, width=110))
        print(f"wrote {LABELS}: set each `good` to true or false")
    else:
        print(json.dumps(score(replies), indent=1))


def _judged_replies(run: RunDirectory) -> dict[str, list[Reply]]:
    """Sealed replies that the judge decided, by clause; contrast left out."""
    found: dict[str, list[Reply]] = defaultdict(list)
    with run.read_database() as database:
        for reply in Records(database).replies(purpose="sealed"):
            is_judged = any("rubric" in verdict["judge"] for verdict in reply.verdicts)
            if is_judged and not reply.contrast and reply.adherence is not None:
                found[reply.clause_id].append(reply)
    return found


def pick(replies: dict[str, list[Reply]], seed: int) -> list[dict[str, Any]]:
    """Items to label: no verdict and no arm is shown."""
    generator = random.Random(seed)
    questions = {clause.id: clause.text for clause in parse_spec(LABELS.with_name("spec.md")).clauses}
    items = []
    for clause_id, found in replies.items():
        passed = [r for r in found if r.adherence == 1]
        failed = [r for r in found if r.adherence == 0]
        half = min(PER_CLAUSE // 2, len(passed))
        chosen = generator.sample(passed, half) + generator.sample(failed, min(PER_CLAUSE - half, len(failed)))
        items += [
            {
                "clause": clause_id,
                "asks": questions[clause_id],
                "scenario": reply.scenario_id,
                "message": conversation_text(reply.prompt),
                "reply": reply.reply,
                "good": None,
            }
            for reply in chosen
        ]
    generator.shuffle(items)
    return items


def score(replies: dict[str, list[Reply]]) -> dict[str, Any]:
    """Agreement by clause: the judge's verdicts against the labels."""
    labels = yaml.safe_load(LABELS.read_text(encoding="utf-8"))
    verdicts = {(r.scenario_id, r.reply): bool(r.adherence) for found in replies.values() for r in found}
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for item in labels:
        key = (item["scenario"], item["reply"])
        if item["good"] is not None and key in verdicts:
            pairs[item["clause"]].append((verdicts[key], item["good"]))
    pairs["all"] = [pair for found in pairs.values() for pair in found]
    results = {}
    for clause_id, found in pairs.items():
        kappa = cohen_kappa([judge for judge, _ in found], [person for _, person in found])
        shown = None if kappa is None else [round(value, 2) for value in (kappa.estimate, kappa.low, kappa.high)]
        agreed = sum(judge == person for judge, person in found)
        results[clause_id] = {"labelled": len(found), "agreed": agreed, "kappa, low, high": shown}
    return results


if __name__ == "__main__":
    main()
