import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.cli.conftest import CONFIG, HEAVY, Ethos, imported_by

from ethos.store.run_directory import RunDirectory

FIGURES = {"base": 0.1, "prompted": 0.4, "trained": 0.8, "difference": 0.7, "interval": [0.6, 0.8], "n": 20}
REPORT: dict[str, Any] = {
    "clauses": [{"id": "brevity", "measurable": True, **FIGURES}],
    "overall": {
        **FIGURES,
        **dict.fromkeys(("checked", "judged", "in_context", "out_of_context"), FIGURES),
        "over_prompted": {"difference": 0.4, "interval": [0.3, 0.5]},
    },
    "placebo": None,
    "canaries": {},
    "failures": [],
    "warnings": ["the judge of the sealed pool chose training rows as well"],
}
SPEC = """\
# Wren

## Short {#brevity}

Wren answers in at most three sentences.

```ethos
checks: {max_sentences: 3}
```

## Units {#units}

Wren gives lengths in metres.

```ethos
checks: {must_match: metre}
```
"""


def test_report_shows_table_paths_and_how_to_talk_to_the_student(ethos: Ethos, stopped_run: RunDirectory) -> None:
    stopped_run.report_json.write_text(json.dumps(REPORT))
    ended = ethos("report", "wren")
    assert ended.code == 0, ended.err
    assert "+0.70 [+0.60, +0.80]" in ended.out
    for path in ("runs/wren/report.html", "runs/wren/report.json"):
        assert f"\n{path}\n" in ended.out
    assert "warning: the judge of the sealed pool" in ended.out
    assert ended.out.endswith("\ntalk to it: ethos chat runs/wren\n")


def test_a_run_ends_with_its_report(ethos: Ethos, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ethos.runs import launch

    given: list[object] = []

    def trained(*arguments: object) -> SimpleNamespace:
        given.extend(arguments)
        run = RunDirectory(Path("elsewhere/wren"))
        return SimpleNamespace(run_dir=run.path, report=REPORT, html=run.report_html, json=run.report_json)

    monkeypatch.setattr(launch, "run", trained)
    (folder / "config.yaml").write_text(CONFIG)
    ended = ethos("run", "config.yaml", "--runs-dir", "elsewhere")
    assert ended.code == 0, ended.err
    assert given[:2] == [Path("config.yaml"), Path("elsewhere")]
    assert ended.out.endswith("\ntalk to it: ethos chat elsewhere/wren\n")


def test_a_dry_run_shows_every_field_of_the_config_and_leaves_nothing(ethos: Ethos, folder: Path) -> None:
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(f"{CONFIG}scenarios: {{taste_per_clause: 10, gate_per_clause: 10}}\n")
    ended = ethos("run", "config.yaml", "--dry-run")
    assert ended.code == 0, ended.err
    config = yaml.safe_load(ended.out.split("\n\n")[0])
    assert config["training"]["steps"] == 100
    assert config["knobs"]["clip"] == 1.0
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "spec.md"]


def test_a_dry_run_loads_nothing_heavy(folder: Path) -> None:
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(f"{CONFIG}scenarios: {{taste_per_clause: 10, gate_per_clause: 10}}\n")
    imported = imported_by("run", "config.yaml", "--dry-run")
    assert imported.isdisjoint({*HEAVY} - {"numpy"})  # numpy is the language detector's
