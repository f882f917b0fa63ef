"""Specs that nobody wrote for Ethos, through the whole job; prints JSON and writes docs/results/other-specs.*.

    python bench/other_specs.py [--runs-dir runs] [SPEC.md …]

Small pools and ten steps: it is asked how many clauses can be measured and yield rows, not how well a student learns.
Without names it takes the five of tests/fixtures/specs. How a clause is read and how near-misses are drawn was worked
out on `prose_en` and `setext_en`, nothing was on the others. A run that is through is read back. Figures go into
other-specs.json, and of all that it holds the page is made, so specs may be measured one by one; those of a text or of
sizes that have changed since are dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finished_run import keep_figures, kept_figures, report_of

from ethos.spec.language import detect_language
from ethos.spec.parse import parse_spec
from ethos.store.parquet_rows import read_rows

ROOT = Path(__file__).resolve().parent.parent
SPECS = ROOT / "tests" / "fixtures" / "specs"
NAMES = ("prose_en.md", "setext_en.md", "numbered_en.md", "french.md", "chinese.md")
PAGE = ROOT / "docs" / "results" / "other-specs.md"
FIGURES = PAGE.with_suffix(".json")
CONFIG: dict[str, Any] = {
    "max_clauses": 8,
    "scenarios": {
        "train_per_clause": 8,
        "taste_per_clause": 4,
        "gate_per_clause": 3,
        "sealed_per_checked_clause": 6,
        "sealed_per_judged_clause": 6,
        "contrast_per_clause": 2,
    },
    "synthesis": {
        "documents": {"count": 6, "max_tokens": 200},
        "demonstrations": {"max_tokens": 120, "replay_rows": 20},
    },
    "training": {"steps": 10, "context_tokens": 512, "checkpoint_every": 10},
    "tasting": {"max_tokens": 100, "questions": 60},
    "knobs": {"taste_every": 10, "taste_prompts": 1},
}


def main() -> None:
    """Runs what is missing, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", type=Path, nargs="*", default=[SPECS / name for name in NAMES])
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    figures = kept_figures(FIGURES, lambda name: _inputs(SPECS / name) if name in NAMES else None)
    for spec in options.specs:
        figures[spec.name] = {"inputs": _inputs(spec), **measure(spec.resolve(), options.runs_dir)}
        keep_figures(FIGURES, figures)
        PAGE.write_text(page(list(figures.values())), encoding="utf-8")
    print(json.dumps(figures, indent=1, ensure_ascii=False))


def _inputs(spec: Path) -> str:
    """The digest of a spec's text and of the sizes it is run with."""
    return hashlib.sha256(spec.read_bytes() + json.dumps(CONFIG).encode()).hexdigest()


def measure(spec: Path, runs_dir: Path) -> dict[str, Any]:
    """What one spec came to: per clause whether it is measurable, its judge's AUC and its rows; rows by language."""
    report = report_of({"name": spec.stem, "spec": str(spec), **CONFIG}, runs_dir)
    rows = [row for file in sorted((runs_dir / spec.stem / "rows").glob("*.parquet")) for row in read_rows(file)]
    demonstrated: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for row in rows:
        if row.lineage.capability_source is not None:
            continue
        languages[detect_language(row.parts[-1][1])] += 1
        if row.lineage.recipe == "demonstrations" and not row.lineage.contrast:
            demonstrated.update(row.lineage.clause_ids)
    clauses = [
        {"id": c["id"], "measurable": c["measurable"], "auc": c["auc"], "demonstrations": demonstrated[c["id"]]}
        for c in report["clauses"]
    ]
    return {
        "spec": spec.name,
        "language": parse_spec(spec).language,
        "clauses": clauses,
        "rows_by_language": dict(languages),
        "seconds": round(report["cost"]["seconds"]),
    }


def page(found: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown: a line a spec, then a line a clause."""
    lines = [
        "# Other specs, through the whole job",
        "",
        "Prose alone, other headings, numbered rules, French, Chinese: specs that went through as they are, not a word",
        f"changed for it, at small sizes ({CONFIG['max_clauses']} clauses with"
        f" {CONFIG['scenarios']['train_per_clause']} train prompts, {CONFIG['training']['steps']} steps).",
        "Demonstrations are those that show the clause, contrasts left out; the AUC is the sealed judge's.",
        "How a clause is read was worked out on `prose_en` and `setext_en`, so the others tell more.",
        "Teacher and judge are the embedded 1.5B model. Made by `python bench/other_specs.py`.",
        "",
        "| spec | clauses | measurable, with rows | rows | in the spec's own language |",
        "|---|---|---|---|---|",
    ]
    for spec in found:
        good = sum(c["measurable"] and c["demonstrations"] > 0 for c in spec["clauses"])
        rows, own = sum(spec["rows_by_language"].values()), spec["rows_by_language"].get(spec["language"], 0)
        lines.append(f"| `{spec['spec']}` | {len(spec['clauses'])} | {good} | {rows} | {own} |")
    lines += ["", "| spec | clause | AUC of the judge | measurable | demonstrations |", "|---|---|---|---|---|"]
    for spec in found:
        for clause in spec["clauses"]:
            auc = "–" if clause["auc"] is None else f"{clause['auc']:.2f}"
            measurable = "yes" if clause["measurable"] else "no"
            lines.append(f"| `{spec['spec']}` | {clause['id']} | {auc} | {measurable} | {clause['demonstrations']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
