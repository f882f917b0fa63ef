"""The quickstart over several seeds, each with a placebo arm; prints JSON and writes docs/results/quickstart.*.

    python bench/quickstart_seeds.py [--seeds 0 1 2] [--reply-tokens N] [--runs-dir runs]

With `--reply-tokens` students may answer with so many tokens, and there is no placebo: how far a result hangs on where
replies are cut off. Figures go into quickstart.json, and of all that it holds the page is made, so runs may be measured
at different times and on different machines; those of another spec, calibration or config are dropped. A run that is
through is read back, so the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from finished_run import keep_figures, kept_figures, report_of

from ethos.store.config.run import load_config

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "quickstart" / "config.yaml"
PAGE = ROOT / "docs" / "results" / "quickstart.md"
FIGURES = PAGE.with_suffix(".json")
GROUPS = {
    "all": "all",
    "checked": "of checked clauses",
    "judged": "of judged clauses",
    "in_context": "in contexts trained in",
    "out_of_context": "in reserved contexts",
    "over_application": "contrasts: clause applied",
    "cut_off": "reply cut off",
}
KEPT = ("models", "overall", "placebo", "clauses", "canaries", "rows", "rejected", "cost")  # of a report


def main() -> None:
    """Runs what is missing, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--reply-tokens", type=int)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    inputs = _inputs()
    figures = kept_figures(FIGURES, lambda seed: inputs)
    for seed in options.seeds:
        report = _report_of(seed, options.reply_tokens, options.runs_dir)
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        name = f"{seed}" if options.reply_tokens is None else f"{seed}, {options.reply_tokens} tokens"
        figures[name] = {"inputs": inputs, "machine": machine, **{part: report[part] for part in KEPT}}
        figures = dict(sorted(figures.items(), key=lambda item: (int(item[0].split(",")[0]), item[0])))
        keep_figures(FIGURES, figures)
        PAGE.write_text(page(figures), encoding="utf-8")
    print(json.dumps({seed: {"machine": f["machine"], **f["overall"]} for seed, f in figures.items()}, indent=1))


def _inputs() -> str:
    """The digest of what a run is made of, its seed left out."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    texts = [CONFIG.read_bytes(), *((CONFIG.parent / config[field]).read_bytes() for field in ("spec", "calibration"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _report_of(seed: int, reply_tokens: int | None, runs_dir: Path) -> dict[str, Any]:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config |= {"name": f"quickstart-seed{seed}", "seed": seed, "placebo": reply_tokens is None}
    if reply_tokens is not None:
        config["name"] += f"-{reply_tokens}"
        config["tasting"] = {**config.get("tasting", {}), "max_tokens": reply_tokens}
    for field in ("spec", "calibration"):
        config[field] = str(CONFIG.parent / config[field])
    return report_of(config, runs_dir)


def page(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as Markdown: a line a seed and group of clauses, then the clauses, then what it cost."""
    runs = "; ".join(f"seed {name}" for name in reports)
    lines = [
        "# The quickstart, measured",
        "",
        "Sealed scenarios, 95% intervals paired by prompt, topics resampled. Students answer with up to "
        f"{_tokens_of_replies()} tokens where nothing else is said. Runs: {runs}.",
        "Made by `python bench/quickstart_seeds.py`; all figures are in [quickstart.json](quickstart.json).",
        "",
        "| seed | prompts | base | prompted | trained | trained - base | trained - prompted | trained - placebo |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, report in reports.items():
        for group, told in GROUPS.items():
            figures = report["overall"] if group == "all" else report["overall"][group]
            over_prompted = _difference(figures["over_prompted"])
            over_placebo = _difference(report["placebo"]) if group == "all" and report["placebo"] else ""
            cells = [seed, told, *(_share(figures[arm]) for arm in ("base", "prompted", "trained"))]
            lines.append(_row([*cells, _difference(figures), over_prompted, over_placebo]))
    placebos = {seed: report["placebo"] for seed, report in reports.items() if report["placebo"]}
    tokens = [(seed, placebo["loss_tokens"]) for seed, placebo in placebos.items()]
    counted = "; ".join(f"{t['trained']:,} and {t['placebo']:,} with seed {seed}" for seed, t in tokens)
    lines += ["", f"Tokens that carried loss in the trained and in the placebo arm: {counted}."]
    lines += [
        "",
        "| seed | clause | AUC | base | prompted | trained | difference | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, report in reports.items():
        for clause in report["clauses"]:
            shares = [_share(clause[name]) for name in ("auc", "base", "prompted", "trained")]
            lines.append(_row([seed, clause["id"], *shares, _difference(clause), str(clause["n"])]))
    lines += ["", "| seed | canary | base | trained | change |", "|---|---|---|---|---|"]
    for seed, report in reports.items():
        for name, canary in report["canaries"].items():
            change = f"× {canary['ratio']:.2f} {_interval(canary)}" if "ratio" in canary else ""
            change = _difference(canary) if "difference" in canary else change
            lines.append(_row([seed, name, f"{canary['base']:.2f}", f"{canary['trained']:.2f}", change]))
    return "\n".join(lines) + "\n"


def _tokens_of_replies() -> int:
    return load_config(CONFIG).tasting.max_tokens


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _difference(figures: Mapping[str, Any]) -> str:
    if figures["difference"] is None:
        return "–"
    return f"{figures['difference']:+.2f} {_interval(figures)}"


def _interval(figures: Mapping[str, Any]) -> str:
    low, high = figures["interval"]
    return f"[{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
