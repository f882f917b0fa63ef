from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ethos.errors import EthosError
from ethos.models import loading
from ethos.models.loading import compute_device, compute_dtype, load
from models import tiny


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tiny.model("qwen2").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_loaded_in_the_precision_asked_for(directory: Path, precision: str, dtype: torch.dtype) -> None:
    found = load(directory, precision)  # type: ignore[arg-type]
    parameters = list(found.model.parameters())
    assert {p.dtype for p in parameters} == {dtype}
    assert {p.device for p in parameters} == {compute_device()}
    assert not any(p.requires_grad for p in parameters)
    assert not found.model.training


def test_the_weights_are_those_of_the_directory(directory: Path) -> None:
    expected = dict(tiny.model("qwen2").named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in load(directory, "fp32").model.named_parameters())


def test_precision_is_overruled_by_the_user() -> None:
    assert compute_dtype("fp32") == torch.float32
    assert compute_dtype("bf16") == torch.bfloat16
    assert compute_dtype() in (torch.float32, torch.bfloat16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="decides on the CPU")
@pytest.mark.parametrize(
    ("native", "bf16_seconds", "expected"),
    [(True, 0.25, torch.bfloat16), (True, 1.7, torch.float32), (False, 0.25, torch.float32)],
)
def test_bf16_is_taken_where_the_cpu_has_it_and_is_no_slower_in_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, bf16_seconds: float, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    monkeypatch.setattr(loading, "_product_seconds", {torch.bfloat16: bf16_seconds, torch.float32: 1.0}.__getitem__)
    monkeypatch.setattr(loading, "_cpu_gains_from_bf16", loading._cpu_gains_from_bf16.__wrapped__)
    assert compute_dtype() == expected


def test_every_token_that_config_or_tokenizer_names_ends_a_reply(directory: Path) -> None:
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [7, 9]}))
    ends = load(directory).end_tokens
    tokenizer = tiny.tokenizer()
    assert ends == {7, 9, tiny.END, tokenizer.convert_tokens_to_ids("<|endoftext|>")}


@pytest.mark.parametrize(
    "broken", ["nothing", "no weights", "half of the weights", "not a language model", "half of the tokenizer"]
)
def test_a_directory_that_holds_no_language_model_is_named(directory: Path, broken: str) -> None:
    if broken == "nothing":
        directory = directory / "nowhere"
    elif broken == "no weights":
        (directory / "model.safetensors").unlink()
    elif broken == "half of the weights":
        whole = (directory / "model.safetensors").read_bytes()
        (directory / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    elif broken == "half of the tokenizer":
        (directory / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE"}}')
    else:
        (directory / "config.json").write_text('{"model_type": "nobody"}')
    with pytest.raises(EthosError, match=r"can't be loaded as a causal language model") as caught:
        load(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [*tiny.KNOWN, *tiny.UNKNOWN])
def test_a_model_that_is_whole_is_loaded_whether_or_not_its_head_is_tied(tmp_path: Path, shape: str) -> None:
    made = tiny.model(shape)
    made.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    found = load(tmp_path, "fp32").model.get_output_embeddings().weight
    assert torch.equal(found, made.get_output_embeddings().weight)


@pytest.mark.parametrize("gone", [1, 2])
def test_weights_that_are_missing_are_refused_and_not_made_up(directory: Path, gone: int) -> None:
    path = directory / "model.safetensors"
    left = dict(sorted(load_file(path).items())[gone:])
    save_file(left, path, {"format": "pt"})
    more = ", and 1 more" if gone == 2 else ""
    with pytest.raises(EthosError, match=rf"{directory}: its weights .*\(lm_head.weight is missing{more}.*download"):
        load(directory)


def test_weights_of_another_shape_than_the_config_says_are_refused_by_name(directory: Path) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 64}))
    said = r"down_proj.weight has the shape \[32, 48\] where the config asks for \[32, 64\], and 5 more"
    with pytest.raises(EthosError, match=said):
        load(directory)


def test_a_config_that_no_model_can_have_is_refused(directory: Path) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": -3}))
    with pytest.raises(EthosError, match=r"can't be loaded as a causal language model \(.*negative dimension"):
        load(directory)
