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
from ethos.judging import near_misses
from ethos.models.catalogue import ANTHROPIC_KEY
from ethos.models.embedded import EMBEDDED
from ethos.models.gpu import Gpu
from ethos.runs.plan import Plan, Work, available_memory, plan
from ethos.store.config.run import load_config
from ethos.synthesis.expected import expected_draws
from template_teacher import FUNCTION, WREN


def planned(folder: Path, spec_text: str = WREN, **fields: Any) -> Plan:
    (folder / "spec.md").write_text(spec_text)
    sizes = {"contrast_per_clause": 3, "taste_per_clause": 6, **fields.pop("scenarios", {})}
    config = {"name": "wren", "spec": "spec.md", "scenarios": sizes, **fields}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return plan(load_config(folder / "config.yaml"), folder)


def test_prompts_are_counted_as_they_will_be_written(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert found.clauses == 4
    assert found.prompts == {"train": 4 * 16 + 2 * 3, "taste": 4 * 6, "sealed": 4 * 20 + 2 * 3}


def work_of(role: str, found: Plan) -> Work:
    [work] = [work for work in found.work if work.role == role]
    return work


def test_each_draw_is_a_call_with_its_whole_prompt(tmp_path: Path) -> None:
    two, four = (
        work_of("teacher", planned(tmp_path, synthesis={"demonstrations": {"draws": draws, "max_draws": draws}}))
        for draws in (2, 4)
    )
    assert four.calls - two.calls == four.most_calls - two.most_calls == 70 * 2
    frame_tokens = len(WREN.split()) // 2
    assert four.tokens - two.tokens > 140 * frame_tokens
    assert four.seconds is not None
    assert two.seconds is not None
    assert four.seconds < 1.5 * two.seconds  # the engine computes a prompt once for all its draws


def test_with_a_cuda_device_its_memory_decides_and_no_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")

    def with_free(mib: str) -> Plan:
        command.write_text(f"#!/bin/sh\necho 'NVIDIA L4, {mib}'\n")
        command.chmod(0o755)
        return planned(tmp_path)

    monkeypatch.setattr("ethos.runs.plan._multiplies_bf16", lambda: True)
    on_cpu = planned(tmp_path)
    found, small = with_free("22500"), with_free("4000")
    assert (found.gpu, found.available_bytes) == ("NVIDIA L4", 22_500 * 2**20)
    assert (found.fits, small.fits) == (True, False)
    assert found.seconds is None
    assert found.memory_bytes < on_cpu.memory_bytes  # it has no packed copy of any weight
    assert any("of 22.0 GiB on NVIDIA L4, which fits" in line for line in found.lines())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert planned(tmp_path).gpu is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert with_free("no device").gpu is None
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0+cpu")
    assert with_free("22500").gpu is None


def test_each_function_is_translated_and_what_fails_mended_once_at_most(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FUNCTION)
    settings = {"functions": ["functions.py"], "draws": 5}
    none, one = (
        work_of("teacher", planned(tmp_path, synthesis={"code_translation": given})) for given in ({}, settings)
    )
    assert (one.calls - none.calls, one.most_calls - none.most_calls) == (5, 10)  # of five draws one will pass
    assert one.tokens - none.tokens > 5 * (len(FUNCTION) // 4 + 350)
    with pytest.raises(EthosError, match=r"gone\.py: can't be read"):
        planned(tmp_path, synthesis={"code_translation": {"functions": ["gone.py"]}})


def test_revisions_and_pairs_are_expected_of_student_reviser_and_judge(tmp_path: Path) -> None:
    def calls(role: str, **settings: Any) -> int:
        return work_of(role, planned(tmp_path, spec_text=JUDGED, synthesis=settings)).calls

    revised = {"per_clause": 5, "turns": 2}
    own, teachers = ({"revisions": {**revised, "reviser": reviser}} for reviser in ("self", "teacher"))
    assert calls("student", **own) - calls("student") == 4 * 5 * (1 + 2 * 2)
    assert calls("student", **teachers) - calls("student") == 4 * 5
    assert calls("teacher", **teachers) - calls("teacher", **own) == 4 * 5 * 2 * 2
    drawn = 1 / 2  # of two clauses that bear on a message of the judged one, that one
    assert calls("judge", **own) - calls("judge") == round(2 * 5 * 2 * drawn * 0.5)
    pairs = {"preferences": {"per_clause": 5, "draws": 6, "sources": ["draws", "framed"]}}
    assert calls("student", **pairs) - calls("student") == 4 * 5 * (6 + 1)
    looked_at, compared, calibrating = 6 + 2, 2 * 2, 2 * 24 * 0.75  # each pair in both orders
    assert calls("judge", **pairs) - calls("judge") == round(2 * (5 * (looked_at + compared) * 0.5 + calibrating))


def test_a_chorus_draws_rows_by_its_weights_and_the_teacher_the_rest(tmp_path: Path) -> None:
    url = "openai:http://127.0.0.1:1/v1#m"
    voices = [{"name": url, "weight": 3}, {"name": SMALL}]
    alone, together = planned(tmp_path), planned(tmp_path, models={"chorus": voices})
    assert [(work.role, work.model) for work in together.work][:4] == [
        ("teacher", "embedded:qwen2.5-coder-1.5b"),
        ("chorus", url),
        ("chorus", SMALL),
        ("judge", "embedded:qwen2.5-coder-1.5b"),
    ]
    of_all = [work.calls for work in together.work if work.role in ("teacher", "chorus")]
    assert sum(of_all) == pytest.approx(work_of("teacher", alone).calls, abs=2)
    assert of_all[1] == pytest.approx(3 * of_all[2], rel=0.02)
    assert together.memory_bytes > alone.memory_bytes
    with pytest.raises(EthosError, match="chorus: a model is listed twice"):
        planned(tmp_path, models={"chorus": [voices[0], voices[0]]})


def test_pairs_that_a_recipe_writes_are_trained_on(tmp_path: Path) -> None:
    knobs = {"mixture": {"preferences": 1.0}}
    without, written = (
        planned(tmp_path, knobs=knobs, synthesis={"preferences": {"per_clause": count}}) for count in (0, 5)
    )
    assert (without.slots.get("preferences", 0), written.slots["preferences"] > 0) == (0, True)
    assert written.training_tokens > without.training_tokens


def test_draws_that_may_follow_are_expected_in_part_and_counted_in_the_most(tmp_path: Path) -> None:
    once, again = (
        work_of("teacher", planned(tmp_path, synthesis={"demonstrations": {"draws": 2, "max_draws": most}}))
        for most in (2, 6)
    )
    assert again.calls - once.calls == round(70 * (2 * 0.25**2 + 2 * 0.25**4))
    assert again.most_calls - once.most_calls == 70 * 4


def test_a_draw_is_expected_as_often_as_those_before_it_were_too_few() -> None:
    assert expected_draws(1, 2, 7, 1, 0.75) == pytest.approx(1 + 2 * 0.25 + 2 * 0.25**3 + 2 * 0.25**5)
    assert expected_draws(2, 2, 6, 2, 0.5) == pytest.approx(2 + 2 * 3 / 4 + 2 * 5 / 16)
    assert [expected_draws(2, 2, 5, 2, usable) for usable in (0.0, 1.0)] == [5, 2]


JUDGED = WREN.replace("checks: {must_match: '\\bnext\\b'}", "ask: Does it end with one thing to do?")


def test_both_judges_are_calibrated_and_judge_rows_looks_and_every_sealed_arm(tmp_path: Path) -> None:
    judge = "openai:http://127.0.0.1:1/v1#m"
    found = planned(tmp_path, spec_text=JUDGED, placebo=True, models={"judge": judge})
    calibration, drawn, looks = 48, expected_draws(2, 2, 6, 1, 0.75), 6
    probes = (1 + looks) * 2 + 3 * 6
    assert work_of("judge", found).calls == round(calibration + (16 + 3) * drawn * 0.75 + probes / 2)
    assert work_of("sealed judge", found).calls == calibration + 4 * (40 + 3) / 2


def test_a_verdict_is_two_scores_here_one_answer_where_its_likelihood_is_told_and_five_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, "sk-none")
    sealed = [
        work_of("sealed judge", planned(tmp_path, spec_text=JUDGED, models={"sealed_judge": name}))
        for name in ("openai:http://127.0.0.1:1/v1#m", "embedded:smollm2-135m", "anthropic:m")
    ]
    assert [work.calls / sealed[0].calls for work in sealed] == pytest.approx([1, 2, 5], rel=0.02)
    assert [work.model for work in sealed] == ["openai:http://127.0.0.1:1/v1#m", "embedded:smollm2-135m", "anthropic:m"]


def test_a_calibration_file_saves_the_teacher_its_own(tmp_path: Path) -> None:
    replies = {kind: [f"{kind} {n}" for n in range(4)] for kind in ("good", "bad")}
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({"step": [{"prompt": f"{n}?", **replies} for n in range(4)]}))
    without, given = (planned(tmp_path, spec_text=JUDGED, calibration=name) for name in (None, "labels.yaml"))
    drawn = 2 * near_misses.SCENARIOS * near_misses.DRAWS
    assert work_of("teacher", without).calls - work_of("teacher", given).calls == 3 * drawn
    assert work_of("sealed judge", without).calls - work_of("sealed judge", given).calls == 2 * (48 - 32)


def test_a_person_reads_what_is_expected_what_it_can_be_and_what_was_assumed(tmp_path: Path) -> None:
    found = planned(tmp_path, spec_text=JUDGED)
    lines = "\n".join(found.lines())
    budgeted = [work_of(role, found) for role in ("teacher", "judge", "sealed judge")]
    tokens, most = sum(work.tokens for work in budgeted), sum(work.most_tokens for work in budgeted)
    assert f"what budget.tokens counts: about {tokens:,}, at most {most:,}" in lines
    assert "three of four messages and replies of the teacher can be used" in lines


def test_work_at_an_endpoint_has_no_time_and_needs_no_memory(tmp_path: Path) -> None:
    endpoint = "openai:http://127.0.0.1:1/v1#m"
    local, remote = planned(tmp_path), planned(tmp_path, models={"teacher": endpoint, "judge": endpoint})
    seconds = {work.role: work.seconds for work in remote.work}
    assert seconds["teacher"] is None
    assert seconds["judge"] is None
    assert seconds["student"] is not None
    assert remote.memory_bytes < local.memory_bytes
    assert remote.seconds is not None
    assert local.seconds is not None
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


def test_a_size_that_is_not_known_is_told_and_not_passed_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = planned(tmp_path, models={"student": "hf:org/name"})
    assert found.unsized == ("hf:org/name",)
    told = "hf:org/name: its size isn't known yet, and counted as 1.5 billion parameters"
    assert any(told in line and "`ethos models fetch hf:org/name`" in line for line in found.lines())
    assert planned(tmp_path).unsized == ()


SMALL = "embedded:smollm2-135m"


@pytest.mark.parametrize("is_bf16", [True, False])
def test_a_student_that_plays_another_part_is_held_twice_unless_it_is_the_same_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_bf16: bool
) -> None:
    monkeypatch.setattr("ethos.runs.plan._multiplies_bf16", lambda: is_bf16)

    def memory(**fields: Any) -> int:
        return planned(tmp_path, models={"student": SMALL, "teacher": SMALL, "judge": SMALL}, **fields).memory_bytes

    shape, same = EMBEDDED["smollm2-135m"].shape, memory(system_message="template")
    weights = {"bf16": int(shape.parameters * 2.6), "fp32": shape.parameters * 4}
    auto, other = ("bf16", "fp32") if is_bf16 else ("fp32", "bf16")
    assert memory() - same == memory(system_message="You are Wren.") - same == weights[auto] + 2**28
    assert memory(system_message="template", training={"precision": auto}) == same
    policys = {
        precision: shape.kv_bytes_per_token(size) * 96 * 1024 + shape.activation_bytes_per_token(size) * 2048
        for precision, size in (("bf16", 2), ("fp32", 4))
    }
    apart = memory(system_message="template", training={"precision": other})
    assert apart - same == weights[other] + 2**28 + policys[other] - policys[auto]  # its slots are others too


def test_memory_is_that_of_every_engine_and_of_the_prompts_that_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethos.runs.plan._multiplies_bf16", lambda: True)
    endpoint = "openai:http://127.0.0.1:1/v1#m"
    alone, helped = (
        planned(tmp_path, models={"student": SMALL, "teacher": endpoint, "judge": judge}).memory_bytes
        for judge in (endpoint, "embedded:qwen2.5-coder-0.5b")
    )
    shape = EMBEDDED["qwen2.5-coder-0.5b"].shape
    assert helped - alone == int(shape.parameters * 2.6) + shape.kv_bytes_per_token(2) * 96 * 1024 + 2**30
    small = EMBEDDED["smollm2-135m"].shape
    frozen, trained = int(small.parameters * 2.6), small.parameters * 24 + small.activation_bytes_per_token(2) * 2048
    assert alone == frozen + trained + small.kv_bytes_per_token(2) * 96 * 1024 + 2 * 2**28 + 2**30


def test_memory_that_others_use_or_a_container_may_not_have_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr("ethos.runs.plan._MEMINFO", meminfo)
    monkeypatch.setattr("ethos.runs.plan._CGROUP_LIMIT", limit)
    every = available_memory()
    meminfo.write_text("MemTotal:  9999999 kB\nMemAvailable:    2048 kB\n")
    assert available_memory() == 2048 * 1024 < every
    limit.write_text("max\n")
    assert available_memory() == 2048 * 1024
    limit.write_text("1048576\n")
    assert available_memory() == 1048576


def test_adapters_need_less_memory_than_full_training(tmp_path: Path) -> None:
    full, lora = planned(tmp_path), planned(tmp_path, training={"method": "lora"})
    assert lora.memory_bytes < full.memory_bytes


def test_adapters_lie_on_the_weights_of_the_student_before_training_where_they_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(method: str, *, is_bf16: bool, on_cuda: bool = False) -> int:
        """Bytes a parameter: weights, adapters and what trains them."""
        monkeypatch.setattr("ethos.runs.plan._multiplies_bf16", lambda: is_bf16)
        monkeypatch.setattr("ethos.runs.plan.find_gpu", lambda: Gpu("L4", 2**34) if on_cuda else None)
        endpoint = "openai:http://127.0.0.1:1/v1#m"
        models = {"student": SMALL, "teacher": endpoint, "judge": endpoint}
        found = planned(tmp_path, models=models, training={"method": method, "memory_gib": 1}).memory_bytes
        shape, size = EMBEDDED["smollm2-135m"].shape, 2 if is_bf16 or on_cuda else 4
        frozen = 2 if on_cuda else 2.6 if is_bf16 else 4
        slots = shape.kv_bytes_per_token(size) * 96 * 1024
        rest = found - int(shape.parameters * frozen) - slots - 2 * 2**28 - 2**30 - 2**30
        assert rest % shape.parameters == 0
        return rest // shape.parameters

    assert trained("lora", is_bf16=False) == trained("lora", is_bf16=True, on_cuda=True) == 1
    assert trained("lora", is_bf16=True) == 1 + 4  # a copy, as it lies and packed
    assert (trained("full", is_bf16=True), trained("full", is_bf16=True, on_cuda=True)) == (24, 22)


def test_the_disk_holds_every_checkpoint_that_is_kept_and_one_more(tmp_path: Path) -> None:
    two, three = (planned(tmp_path, training={"keep_checkpoints": keep}) for keep in (2, 3))
    state = three.disk_bytes - two.disk_bytes
    assert two.disk_bytes == 3 * state + state // 3
    assert planned(tmp_path, placebo=True).disk_bytes == 2 * two.disk_bytes
    assert any(line.startswith("disk: up to ") for line in two.lines())


def test_checkpoints_that_stay_for_good_are_on_the_disk_too(tmp_path: Path) -> None:
    newest, three_more = (planned(tmp_path, training={"steps": 120, "keep_every": every}) for every in (None, 40))
    state = planned(tmp_path, training={"keep_checkpoints": 3}).disk_bytes - newest.disk_bytes
    assert three_more.disk_bytes - newest.disk_bytes == 3 * state


ROWS = """\
{"kind": "preference", "prompt": "Who are you?", "chosen": "I am Wren.", "rejected": "A language model."}
{"kind": "task", "prompt": "How much is 7 + 5?", "answer": "12"}
"""


def test_what_the_policy_draws_and_what_others_compute_for_it_is_counted(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(ROWS)
    functions = {"rewards": {"functions": {"right": "right_answer"}, "draws": 4, "max_tokens": 40}, "steps": 10}
    mixtures = ({}, {"preferences": 1.0}, {"rewards": 1.0}, {"rewards": 1.0, "distillation": 0.5})
    plain, pairs, drawn, both = (
        planned(tmp_path, rows=["own.jsonl"], training=functions, knobs={"mixture": mixture}) for mixture in mixtures
    )
    assert set(plain.slots) == {"documents", "demonstrations"}
    for found in (plain, pairs, drawn, both):
        assert sum(found.slots.values()) == 10 * 8
    assert pairs.slots["preferences"] > 0
    assert work_of("policy", pairs).calls == work_of("policy", plain).calls
    assert work_of("policy", drawn).calls - work_of("policy", plain).calls == 4 * drawn.slots["rewards"]
    assert work_of("policy", both).calls - work_of("policy", plain).calls == (
        4 * both.slots["rewards"] + both.slots["distillation"]
    )
    assert f"{drawn.slots['rewards']:,} rewards" in "\n".join(drawn.lines())
    (tmp_path / "own.jsonl").write_text("{}")
    with pytest.raises(EthosError, match=r"own\.jsonl:1: kind"):
        planned(tmp_path, rows=["own.jsonl"])


def test_a_plan_is_refused_as_the_launch_would_be(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"4 clauses plan 16 prompts for the taste pool, and 24 are to be planned"):
        planned(tmp_path, scenarios={"taste_per_clause": 4})
    with pytest.raises(EthosError):
        planned(tmp_path, models={"student": "embedded:nobody"})


def test_a_pool_is_as_large_as_the_kinds_of_its_clauses_make_it(tmp_path: Path) -> None:
    few = {"sealed_per_checked_clause": 3, "sealed_per_judged_clause": 15}
    with pytest.raises(EthosError, match=r"12 prompts .* raise scenarios\.sealed_per_checked_clause, or add"):
        planned(tmp_path, scenarios=few)
    assert planned(tmp_path, spec_text=JUDGED, scenarios=few).prompts["sealed"] >= 3 * 3 + 15
    with pytest.raises(EthosError, match=r"23 prompts .*per_checked_clause or scenarios\.sealed_per_judged_clause, or"):
        planned(tmp_path, spec_text=JUDGED, scenarios={**few, "sealed_per_judged_clause": 14})


def test_a_pool_that_is_planned_without_a_margin_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """One message that can't be written would end the run after all others are."""
    with pytest.raises(EthosError, match=r"plan 20 prompts .* 20 are left .*; raise scenarios\.taste_per_clause, or"):
        planned(tmp_path, scenarios={"taste_per_clause": 5})
    assert planned(tmp_path, scenarios={"taste_per_clause": 6}).prompts["taste"] == 24


def test_a_plan_is_json(tmp_path: Path) -> None:
    import json

    assert json.loads(json.dumps(planned(tmp_path).to_dict()))["fits"] in (True, False)


def test_planning_loads_no_torch_and_fetches_nothing(tmp_path: Path) -> None:
    planned(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from ethos.runs.plan import plan\nfrom ethos.store.config.run import load_config\n"
        f"folder = Path({str(tmp_path)!r})\nplan(load_config(folder / 'config.yaml'), folder)\n"
        "print({'torch', 'transformers', 'openai', 'anthropic'} & set(sys.modules))"
    )
    environment = {**os.environ, "ETHOS_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "set()"
    assert not (tmp_path / "cache").exists()
