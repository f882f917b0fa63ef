import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.cli.conftest import CONFIG, HEAVY, Ethos, imported_by

from ethos.report.report import build_report
from ethos.report.writing import HTML
from ethos.store.run_directory import RunDirectory
from example_report import build_example

REPORT = build_report(build_example())
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
    assert f"{REPORT['overall']['difference']:+.2f} [" in ended.out
    for path in ("runs/wren/report.html", "runs/wren/report.json"):
        assert f"\n{path}\n" in ended.out
        assert Path(path).is_file()
    assert REPORT["warnings"]
    for warning in REPORT["warnings"]:
        assert f"warning: {' '.join(warning.split()[:4])}" in " ".join(ended.out.split())  # lines are folded
    assert ended.out.endswith("\ntalk to it: ethos chat runs/wren\n")


def test_a_run_ends_with_its_report(ethos: Ethos, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ethos.runs import launch

    given: list[object] = []

    def trained(*arguments: object) -> SimpleNamespace:
        given.extend(arguments)
        run = RunDirectory(Path("elsewhere/wren"))
        return SimpleNamespace(run_dir=run.path, report=REPORT, html=run.path / HTML, json=run.report_json)

    monkeypatch.setattr(launch, "run", trained)
    (folder / "config.yaml").write_text(CONFIG)
    ended = ethos("run", "config.yaml", "--runs-dir", "elsewhere")
    assert ended.code == 0, ended.err
    assert given[:2] == [Path("config.yaml"), Path("elsewhere")]
    assert ended.out.endswith("\ntalk to it: ethos chat elsewhere/wren\n")


def test_a_dry_run_shows_every_field_of_the_config_and_leaves_nothing(ethos: Ethos, folder: Path) -> None:
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(f"{CONFIG}scenarios: {{taste_per_clause: 12, gate_per_clause: 12}}\n")
    ended = ethos("run", "config.yaml", "--dry-run")
    assert ended.code == 0, ended.err
    config = yaml.safe_load(ended.out.split("\n\n")[0])
    assert config["training"]["steps"] == 100
    assert config["knobs"]["clip"] == 1.0
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "spec.md"]


def test_a_dry_run_loads_nothing_heavy(folder: Path) -> None:
    (folder / "spec.md").write_text(SPEC)
    (folder / "config.yaml").write_text(f"{CONFIG}scenarios: {{taste_per_clause: 12, gate_per_clause: 12}}\n")
    imported = imported_by("run", "config.yaml", "--dry-run")
    assert imported.isdisjoint({*HEAVY} - {"numpy"})  # numpy is the language detector's
