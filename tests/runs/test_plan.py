"""A plan from config and spec alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ethos.errors import EthosError
from ethos.runs.plan import Plan, plan
from ethos.store.config import load_config
from template_teacher import WREN


def planned(folder: Path, spec_text: str = WREN, **fields: Any) -> Plan:
    (folder / "spec.md").write_text(spec_text)
    config = {"name": "wren", "spec": "spec.md", "scenarios": {"contrast_per_clause": 3}, **fields}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return plan(load_config(folder / "config.yaml"), folder)


def test_prompts_are_counted_as_they_will_be_written(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert found.clauses == 4
    assert found.prompts == {"train": 4 * 16 + 2 * 3, "taste": 4 * 5, "sealed": 4 * 20 + 2 * 3}


def test_the_teachers_calls_are_messages_and_their_screening_draws_documents_and_lists(tmp_path: Path) -> None:
    found = planned(tmp_path, synthesis={"documents": {"count": 7}, "demonstrations": {"draws": 2}})
    teacher = next(work for work in found.work if work.role == "teacher")
    assert 2 * (170 - 6) + 2 * 70 + 7 <= teacher.calls <= 2 * 176 + 2 * 70 + 7 + 20


def test_work_at_an_endpoint_has_no_time_and_needs_no_memory(tmp_path: Path) -> None:
    endpoint = "openai:http://127.0.0.1:1/v1#m"
    local, remote = planned(tmp_path), planned(tmp_path, models={"teacher": endpoint, "judge": endpoint})
    seconds = {work.role: work.seconds for work in remote.work}
    assert seconds["teacher"] is None
    assert seconds["judge"] is None
    assert seconds["student"] is not None
    assert remote.memory_bytes < local.memory_bytes
    assert remote.seconds < local.seconds
    assert any("at the endpoint's pace" in line for line in remote.lines())


def test_a_limit_in_money_needs_the_price_of_every_endpoint(tmp_path: Path) -> None:
    endpoint = "openai:http://127.0.0.1:1/v1#m"
    models = {"teacher": endpoint}
    with pytest.raises(EthosError, match=r"budget\.usd needs a price for openai:http://127\.0\.0\.1:1/v1#m"):
        planned(tmp_path, models=models, budget={"usd": 5})
    priced = {**models, "endpoints": [{"name": endpoint, "completion_usd_per_mtok": 2.0}]}
    assert planned(tmp_path, models=priced, budget={"usd": 5}).clauses == 4
    with pytest.raises(EthosError, match="5b runs here and needs neither"):
        planned(tmp_path, models={"endpoints": [{"name": "embedded:qwen2.5-coder-1.5b"}]})
    with pytest.raises(EthosError, match="a name is listed twice"):
        planned(tmp_path, models={**models, "endpoints": [{"name": endpoint}, {"name": endpoint}]})
    with pytest.raises(EthosError, match="openai:other plays no part"):
        planned(tmp_path, models={"endpoints": [{"name": "openai:other"}]})


def test_what_a_launch_would_refuse_the_plan_refuses(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"models\.student: openai:.* answers over the network and can't be trained"):
        planned(tmp_path, models={"student": "openai:http://127.0.0.1:1/v1#m"})
    with pytest.raises(EthosError, match=r"labels\.yaml: can't be read as YAML"):
        planned(tmp_path, calibration="labels.yaml")
    (tmp_path / "labels.yaml").write_text("when: 2024-13-45\n")
    with pytest.raises(EthosError, match=r"labels\.yaml: can't be read as YAML"):
        planned(tmp_path, calibration="labels.yaml")


def test_the_verdict_on_memory_follows_what_there_is(tmp_path: Path) -> None:
    from dataclasses import replace

    found = planned(tmp_path)
    enough = replace(found, available_bytes=found.memory_bytes)
    little = replace(found, available_bytes=found.memory_bytes - 1)
    assert (enough.fits, little.fits) == (True, False)
    assert any("which fits" in line for line in enough.lines())
    assert any("does NOT fit: name a smaller model" in line for line in little.lines())


def test_adapters_need_less_memory_than_full_training(tmp_path: Path) -> None:
    full, lora = planned(tmp_path), planned(tmp_path, training={"method": "lora"})
    assert lora.memory_bytes < full.memory_bytes


def test_the_disk_holds_every_checkpoint_that_is_kept_and_one_more(tmp_path: Path) -> None:
    two, three = (planned(tmp_path, training={"keep_checkpoints": keep}) for keep in (2, 3))
    state = three.disk_bytes - two.disk_bytes
    assert two.disk_bytes == 3 * state + state // 3
    assert planned(tmp_path, placebo=True).disk_bytes == 2 * two.disk_bytes
    assert any(line.startswith("disk: up to ") for line in two.lines())


def test_a_plan_is_refused_as_the_launch_would_be(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"4 clauses give the taste pool 16 prompts, and it needs 20"):
        planned(tmp_path, scenarios={"taste_per_clause": 4})
    with pytest.raises(EthosError):
        planned(tmp_path, models={"student": "embedded:nobody"})


def test_a_pool_is_as_large_as_the_kinds_of_its_clauses_make_it(tmp_path: Path) -> None:
    few = {"sealed_per_checked_clause": 3, "sealed_per_judged_clause": 11}
    with pytest.raises(EthosError, match=r"12 prompts, .* raise scenarios\.sealed_per_checked_clause, or add"):
        planned(tmp_path, scenarios=few)
    judged = WREN.replace("checks: {must_match: '\\bnext\\b'}", "ask: Does it end with one thing to do?")
    assert planned(tmp_path, spec_text=judged, scenarios=few).prompts["sealed"] >= 3 * 3 + 11
    with pytest.raises(
        EthosError, match=r"19 prompts, .*per_checked_clause or scenarios\.sealed_per_judged_clause, or"
    ):
        planned(tmp_path, spec_text=judged, scenarios={**few, "sealed_per_judged_clause": 10})


def test_a_plan_is_json(tmp_path: Path) -> None:
    import json

    assert json.loads(json.dumps(planned(tmp_path).to_dict()))["fits"] in (True, False)


def test_planning_loads_no_torch_and_fetches_nothing(tmp_path: Path) -> None:
    planned(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from ethos.runs.plan import plan\nfrom ethos.store.config import load_config\n"
        f"folder = Path({str(tmp_path)!r})\nplan(load_config(folder / 'config.yaml'), folder)\n"
        "print({'torch', 'transformers', 'openai', 'anthropic'} & set(sys.modules))"
    )
    environment = {**os.environ, "ETHOS_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "set()"
    assert not (tmp_path / "cache").exists()
