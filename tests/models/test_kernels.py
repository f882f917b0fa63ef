"""Compiled functions equal PyTorch's operations, and are done without where nothing compiles them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ethos.models import fused, kernels
from ethos.models.architecture import CausalForward
from ethos.models.attention import KeyValueSlots, StepAttention
from models import tiny

BF16 = torch.bfloat16
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler")


@pytest.fixture
def afresh() -> Iterator[None]:
    """Compiles, or fails to, anew."""
    kernels._library.cache_clear()
    yield
    kernels._library.cache_clear()


def plainly(function: Callable[..., Tensor], *arguments: Any, patch: pytest.MonkeyPatch) -> Tensor:
    """What PyTorch's operations give."""
    with patch.context() as without:
        without.setattr(kernels, "can_take", lambda *_: False)
        return function(*arguments)


@needs_compiler
@torch.no_grad()
def test_elementwise_parts_equal_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixed = torch.randn(300, 9, 64).to(BF16)
    of_some_heads = mixed[:, 2:7]  # rows lie apart, as those of queries and keys among values
    weight, cos, sin = torch.rand(64).to(BF16), torch.randn(300, 1, 64).to(BF16), torch.randn(300, 1, 64).to(BF16)
    gates = torch.randn(300, 2, 128).to(BF16) * 8
    for function, arguments in (
        (fused.rms_norm, (of_some_heads, weight, 1e-3)),
        (fused.rms_norm, (mixed.flatten(1), torch.rand(576).to(BF16), 1e-3)),
        (fused.rms_norm, (mixed.flatten(1)[:, 64:128], weight, 1e-3)),
        (fused.rms_norm, (mixed.flatten(1).mT.contiguous().mT, torch.rand(576).to(BF16), 1e-3)),
        (fused.rotate, (of_some_heads, cos, sin)),
        (fused.rotate, (of_some_heads, cos[:1], sin[:1])),
        (fused.rotate, (of_some_heads.mT.contiguous().mT, cos, sin)),
        (fused.swiglu, (gates,)),
    ):
        assert kernels.can_take(arguments[0])
        expected = plainly(function, *arguments, patch=monkeypatch)
        found = function(*arguments)
        assert found.shape == expected.shape
        assert found.dtype == BF16
        differs = (found != expected).float().mean()  # by how PyTorch adds up squares on this machine
        assert differs < 1e-3
        assert torch.allclose(found, expected, rtol=1e-2, atol=0)


@needs_compiler
@pytest.mark.parametrize("width", [64, 576])
def test_gradients_equal_those_of_pytorch(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)

    def gradients(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        given = [x.detach().requires_grad_() if isinstance(x, Tensor) else x for x in arguments]
        out = function(*given)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(BF16))
        return torch.cat([x.grad.flatten() for x in given if isinstance(x, Tensor) and x.grad is not None])

    x, weight = torch.randn(301, 3, width).to(BF16), torch.rand(width).to(BF16)
    for function, arguments in (
        (fused.rms_norm, (x, weight, 1e-3)),
        (fused.rms_norm, (x[:, 1], weight, 1e-3)),  # rows lie apart
        (fused.rms_norm, (x[:1, 1], weight, 1e-3)),  # fewer than there are threads
        (fused.swiglu, (x * 4,)),
        (fused.swiglu, (x.mT.contiguous().mT,)),
    ):
        expected = plainly(gradients, function, *arguments, patch=monkeypatch)
        found = gradients(function, *arguments)
        assert (found != expected).float().mean() < 0.02  # the last bit, by the order of sums
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@needs_compiler
@torch.no_grad()
def test_logits_become_log_probabilities_and_gradients() -> None:
    torch.manual_seed(0)
    logits, weights = (torch.randn(70, 5000) * 8).to(BF16), torch.randn(70)
    targets = torch.randint(0, 5000, (70,))
    normalisers = kernels.log_sum_exp(logits)
    torch.testing.assert_close(normalisers, logits.float().logsumexp(-1), atol=1e-5, rtol=1e-6)
    onehot = torch.nn.functional.one_hot(targets, 5000)
    expected = ((onehot - logits.float().softmax(-1)) * weights[:, None]).to(BF16)
    found = kernels.by_logits(logits, normalisers, targets, weights)
    assert found is logits
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)
    assert kernels.log_sum_exp(torch.full((1, 9), torch.nan, dtype=BF16)).isnan().all()
    with pytest.raises(ValueError, match="row by row"):
        kernels.by_logits(logits.T, normalisers, targets, weights)


@needs_compiler
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(9, 3, 64), (14, 2, 64), (4, 4, 128), (6, 2, 80)])
@torch.no_grad()
def test_a_step_writes_its_keys_and_attends_to_all_that_its_slot_holds(heads: int, kv_heads: int, width: int) -> None:
    torch.manual_seed(0)
    past = [0, 1, 2, 3, 62, 63, 64, 65, 130, 255]
    mixed = torch.randn(len(past), heads + 2 * kv_heads, width).to(BF16)
    query, key, value = mixed.split((heads, kv_heads, kv_heads), dim=1)
    keys, values = (torch.randn(len(past) + 1, kv_heads, 256, width).to(BF16) for _ in range(2))
    before_keys, before_values = keys.clone(), values.clone()
    out = kernels.attend_step(query, key, value, keys, values, torch.tensor(past))
    for row, held in enumerate(past):
        before_keys[row, :, held], before_values[row, :, held] = key[row], value[row]
        asked = query[row].double().view(kv_heads, -1, width)
        scores = asked @ keys[row, :, : held + 1].double().mT / width**0.5
        expected = (scores.softmax(dim=-1) @ values[row, :, : held + 1].double()).flatten(0, 1)
        assert (out[row].double() - expected).norm() < 3e-3 * expected.norm()  # bf16's rounding of the result
    assert torch.equal(keys, before_keys)
    assert torch.equal(values, before_values)


def test_a_sequence_without_room_is_refused() -> None:
    """In C its key would be written to whatever lies behind the slot."""
    cache = KeyValueSlots(1, 4, 512, 1, 8, BF16, torch.device("cpu"))
    cache.reserve(2, 100)
    for lengths in ([1, cache.capacity], [1] * (cache.slots + 1)):
        with pytest.raises(ValueError, match="no room"):
            StepAttention(cache, lengths)


@needs_compiler
@torch.no_grad()
def test_steps_of_a_model_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = CausalForward(tiny.model("qwen2", dtype=BF16))
    past = [3, 17, 40]

    def stepped() -> Tensor:
        torch.manual_seed(0)
        slots = (len(forward.layers), 4, 512, forward.kv_heads, forward.head_width)
        cache = KeyValueSlots(*slots, BF16, torch.device("cpu"))
        cache.reserve(4, 64)
        for held in (*cache.keys, *cache.values):
            held.normal_()
        tokens = torch.tensor([5, 6, 7])
        return forward.logits(forward.hidden(tokens, torch.tensor(past), StepAttention(cache, past)))

    expected = plainly(stepped, patch=monkeypatch)
    assert kernels.can_take(forward.embedding_VE)
    found = stepped()
    assert not torch.equal(found, expected)  # rounded once, not at every operation
    assert (found - expected).norm() < 2e-2 * expected.norm()


@needs_compiler
@torch.no_grad()
def test_what_is_no_number_stays_none() -> None:
    row = torch.full((1, 64), torch.nan, dtype=BF16)
    query, cache = row.view(1, 1, 64), torch.zeros(1, 1, 128, 64, dtype=BF16)
    assert kernels.rms_norm(row, torch.ones(64, dtype=BF16), 1e-5).isnan().all()
    assert kernels.swiglu(row).isnan().all()
    assert kernels.rotate(query, query, query).isnan().all()
    for asked, key, value in ((query, query * 0 + 1, query), (torch.ones_like(query), query, torch.ones_like(query))):
        out = kernels.attend_step(asked, key, value, cache, cache.clone(), torch.tensor([5]))
        assert out.isnan().all()


@needs_compiler
def test_they_are_for_bf16_without_gradients() -> None:
    x = torch.ones(2, 4, dtype=BF16)
    assert not kernels.can_take(x)
    with torch.no_grad():
        assert kernels.can_take(x)
        assert not kernels.can_take(x, x.float())
        assert not kernels.can_take(x.to("meta"))


@needs_compiler
@pytest.mark.usefixtures("afresh")
def test_they_are_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path))
    assert kernels._library() is not None
    [made] = (tmp_path / "kernels").iterdir()
    written = made.stat().st_mtime_ns
    kernels._library.cache_clear()
    assert kernels._library() is not None
    assert [(path, path.stat().st_mtime_ns) for path in (tmp_path / "kernels").iterdir()] == [(made, written)]


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize(
    ("variable", "value", "is_told"), [("CC", "false", True), ("CC", "", False), ("ETHOS_KERNELS", "0", False)]
)
@torch.no_grad()
def test_without_a_compiler_pytorch_does_the_work(
    variable: str,
    value: str,
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ETHOS_CACHE", str(tmp_path))
    monkeypatch.setenv(variable, value)
    x = torch.ones(2, 4, dtype=BF16)
    assert not kernels.can_take(x)
    assert torch.equal(fused.rms_norm(x, x[0], 0.0), x)
    assert ("does the work of compiled functions" in caplog.text) == is_told
