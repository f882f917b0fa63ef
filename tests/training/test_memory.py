from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch

from ethos.errors import EthosError
from ethos.models import kernels
from ethos.models.causal_attention import SHORT_TOKENS
from ethos.models.shape import Shape
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import Completion, RowSize, TokenRow, one_batch
from ethos.training.logprobs import CHUNK, TeacherStates, divergences, summed, target_logprobs
from ethos.training.memory import (
    _COMPILED_ENTRY_BYTES,
    _DISTILLED_ENTRY_BYTES,
    _ENTRY_BYTES,
    MemoryPlan,
    _head_bytes,
    _kept_bytes,
    costs,
    plan_memory,
)
from ethos.training.policy import Policy
from training.character import DEMONSTRATIONS, batches, policy

HEAD = (8.0 * 512 * 300 + 8.0 * 300 * 32) / 2**30  # of the tiny models, in GiB


def config(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"micro_batch_tokens": 4096} | fields)


def row_of(tokens: int) -> list[RowSize]:
    return [RowSize(tokens, tokens, tokens)]


def gib(made_bytes: float) -> float:
    return made_bytes / 2**30 + HEAD


def test_without_a_budget_the_config_decides() -> None:
    assert plan_memory(policy(), config(), row_of(256)) == MemoryPlan(4096)


def test_what_a_plan_before_loading_counts_is_what_is_kept() -> None:
    made = policy("llama-deep")
    config, forward = made.model.config, made.forward
    assert forward is not None
    shape = Shape(
        parameters=0,
        layers=len(forward.layers),
        width=config.hidden_size,
        feed_forward=config.intermediate_size,
        heads=forward.heads,
        kv_heads=forward.kv_heads,
        head_width=forward.head_width,
    )
    assert shape.activation_bytes_per_token(4) == pytest.approx(costs(made, 128)[0], rel=0.1)


def alone(made: Policy, recomputed: int = 0) -> float:
    return costs(made, 128, recomputed)[0]


@pytest.mark.parametrize("shape", ["llama", "gpt-neox"])
def test_a_budget_makes_micro_batches_smaller(shape: str) -> None:
    made = policy(shape)
    head = HEAD if made.forward is not None else 0.0
    found = plan_memory(made, config(memory_gib=alone(made) * 1000.5 / 2**30 + head), row_of(256))
    assert (found.micro_batch_tokens, found.recomputed) == (1000, 0)


def test_as_few_blocks_are_computed_twice_as_one_row_needs() -> None:
    made = policy("llama-deep")
    kept = [alone(made, recomputed) for recomputed in range(6)]
    assert kept[5] < 0.4 * kept[0]
    for recomputed in range(6):
        just = plan_memory(made, config(memory_gib=gib(256.5 * kept[recomputed])), row_of(256))
        assert (just.recomputed, just.micro_batch_tokens) == (recomputed, 256)
    with pytest.raises(EthosError, match="even if they are computed twice"):
        plan_memory(made, config(memory_gib=gib(255 * kept[5])), row_of(256))


def test_each_block_that_is_computed_twice_saves_what_is_planned() -> None:
    """Measured: the highest memory of a forward and a backward pass."""
    made = policy("llama-deep")
    row = TokenRow("a", (0,) * 8, (Completion((0,) * 248),))

    def peak(recomputed: int) -> int:
        made.recomputed = recomputed
        return peak_bytes(lambda: made.outputs(one_batch([row])).logprobs_M.sum().backward())

    peaks = [peak(recomputed) for recomputed in range(6)]
    planned = [alone(made, recomputed) * row.tokens for recomputed in range(6)]
    saved = [peaks[0] - one for one in peaks[1:]]
    assert saved == pytest.approx([planned[0] - one for one in planned[1:]], rel=0.1)


@pytest.mark.parametrize("recomputed", [0, 1])
def test_a_prompt_that_is_laid_out_again_costs_a_part_of_a_token(recomputed: int) -> None:
    """And what is planned with is what is kept: of rows of other shapes than the probes'."""
    made = policy("llama")
    each, repeated = costs(made, 128, recomputed)
    assert 0 < repeated < each
    row = TokenRow("a", (0,) * 40, tuple(Completion((0,) * 20) for _ in range(6)))
    kept = _kept_bytes(made, row, recomputed)
    assert row.size.cost(repeated / each) * each == pytest.approx(kept, rel=0.1)


def test_a_pair_costs_what_packing_counts_for_it() -> None:
    """Its prompt is computed once, and laid out again for a part of that."""
    made, pair = policy(), RowSize(tokens=300, laid_out=540, longest=270)
    each, repeated = costs(made, 128)
    just = pair.cost(repeated / each)
    assert 300 < just < 540
    assert plan_memory(made, config(memory_gib=gib(1.01 * just * each)), [pair]).recomputed == 0
    assert plan_memory(made, config(memory_gib=gib(0.99 * just * each)), [pair]).recomputed > 0


@pytest.mark.parametrize("tokens", [SHORT_TOKENS, SHORT_TOKENS + 1])
def test_a_long_row_is_probed_by_a_long_one(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention keeps other things of it."""
    probes: list[int] = []

    def counted(made: Policy, length: int, recomputed: int) -> tuple[float, float]:
        probes.append(length)
        return costs(made, length, recomputed)

    monkeypatch.setattr("ethos.training.memory.costs", counted)
    plan_memory(policy(), config(memory_gib=1), row_of(tokens))
    assert [length > SHORT_TOKENS for length in probes] == [tokens > SHORT_TOKENS]


def test_adapters_leave_no_gradient_of_the_output_matrix() -> None:
    made, lora = policy(), policy(method="lora")
    assert _head_bytes(made, 8.0) - _head_bytes(lora, 8.0) == (4 + 4) * 300 * 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_chunk_of_logits_takes_what_is_planned_for_it(dtype: torch.dtype) -> None:
    """Measured: every allocation of the forward and the backward pass."""
    hidden, weight = (torch.randn(n, 4, dtype=dtype).requires_grad_() for n in (CHUNK, 8192))
    teacher = TeacherStates(hidden.detach(), weight.detach() + 1)
    targets = torch.zeros(CHUNK, dtype=torch.long)
    plain = peak_bytes(lambda: target_logprobs(hidden, weight, targets).sum().backward())
    known = peak_bytes(lambda: summed(hidden, weight, targets, lambda given, piece: given)[0].backward())
    distilled = peak_bytes(lambda: divergences(hidden, weight, teacher, "reverse").sum().backward())
    found = [peak / (CHUNK * 8192) for peak in (plain, known, distilled)]
    with torch.no_grad():
        is_compiled = kernels.can_take(weight)
    assert found[2] == pytest.approx(_DISTILLED_ENTRY_BYTES, rel=0.02)
    if is_compiled:  # where the gradients that are there at the peak are a tenth of it
        assert found[:2] == pytest.approx([_COMPILED_ENTRY_BYTES] * 2, abs=0.25)
    else:
        assert found[:2] == pytest.approx([_ENTRY_BYTES] * 2, rel=0.02)


def test_more_targets_than_a_chunk_take_no_more_logits() -> None:
    """The whole logits of these would be eight times a chunk's."""

    def peaks(targets: int) -> list[int]:
        hidden, weight = (torch.randn(n, 4).requires_grad_() for n in (targets, 8192))
        given = torch.zeros(targets, dtype=torch.long)
        teacher = TeacherStates(hidden.detach(), weight.detach() + 1)
        jobs = (
            lambda: target_logprobs(hidden, weight, given).sum().backward(),
            lambda: summed(hidden, weight, given, lambda found, piece: found)[0].backward(),
            lambda: divergences(hidden, weight, teacher, "reverse").sum().backward(),
        )
        return [peak_bytes(job) for job in jobs]

    assert peaks(8 * CHUNK) == pytest.approx(peaks(CHUNK), rel=0.1)


def peak_bytes(job: Callable[[], None]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        job()
    assert profile.profiler is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


def test_what_can_not_fit_is_told_with_what_it_takes() -> None:
    with pytest.raises(EthosError, match=r"training\.memory_gib: 0\.0001 GiB .* take 0\.\d+ GiB even if"):
        plan_memory(policy(), config(memory_gib=1e-4), row_of(256))


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", ["llama-tied", "qwen2", "qwen3"])
def test_blocks_computed_twice_give_the_very_same_gradients(shape: str, method: str) -> None:
    plain, twice = policy(shape, method), policy(shape, method)
    twice.recomputed = 2
    first = plain.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    second = twice.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    assert first == second
    for name, gradient in plain.optimizer.gradients.items():
        assert torch.equal(gradient, twice.optimizer.gradients[name]), name
