from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ethos.models.architecture import CausalForward, is_known
from ethos.models.attention import PackedAttention, whole_spans
from models import tiny


def logits_of(forward: CausalForward, tokens_T: Tensor) -> Tensor:
    positions = torch.arange(len(tokens_T))
    return forward.logits(
        forward.hidden(tokens_T, positions, PackedAttention(whole_spans([len(tokens_T)]), tokens_T.device))
    )


def with_adapters(model: Any, seed: int = 0) -> Any:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return adapted


TOKENS = torch.randint(0, 300, (41,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", tiny.KNOWN)
@torch.no_grad()
def test_logits_are_the_hugging_face_models_own(shape: str) -> None:
    model = tiny.model(shape)
    assert is_known(model)
    own = model(input_ids=TOKENS[None]).logits[0]
    torch.testing.assert_close(logits_of(CausalForward(model), TOKENS), own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(input_ids=TOKENS[None]).logits[0], own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", tiny.KNOWN)
@torch.no_grad()
def test_adapters_count_as_in_peft(shape: str) -> None:
    plain = tiny.model(shape)(input_ids=TOKENS[None]).logits[0]
    adapted = with_adapters(tiny.model(shape))
    own = adapted(input_ids=TOKENS[None]).logits[0]
    assert not torch.allclose(own, plain, atol=0.1)
    torch.testing.assert_close(logits_of(CausalForward(adapted), TOKENS), own, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_output_a_row_is_the_projections_own_with_bias_and_adapters() -> None:
    adapted = with_adapters(tiny.model("qwen2"))
    projections = list(CausalForward(adapted).projections())
    assert any(p.bias_O is not None and p.adapters for p in projections)
    for projection in projections:
        x_NE = torch.randn(30, projection.weight_OE.shape[1], generator=torch.Generator().manual_seed(3))
        outputs_N = torch.arange(30) % projection.weight_OE.shape[0]
        whole_N = projection(x_NE).gather(1, outputs_N[:, None]).squeeze(1)
        torch.testing.assert_close(projection.one_output(x_NE, outputs_N), whole_N, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_log_probabilities_in_bf16_keep_differences_that_its_logits_round_away() -> None:
    forward = CausalForward(tiny.model().bfloat16())
    hidden_NE = 40 * torch.randn(64, 1, forward.embedding_VE.shape[1], dtype=torch.bfloat16).expand(-1, 2, -1)
    exact_N2 = torch.einsum("nte,te->nt", hidden_NE.float(), forward.head.weight_OE[[5, 6]].float())
    found_N2 = torch.stack([forward.logprobs(hidden_NE[:, i], torch.full((64,), 5 + i)) for i in (0, 1)], dim=1)
    kept = (found_N2 < 0).all(dim=1)
    assert kept.sum() > 32
    torch.testing.assert_close(found_N2.diff()[kept], exact_N2.diff()[kept], atol=1e-3, rtol=0)
    assert (forward.logits(hidden_NE[:, 0])[:, 5:7].diff() - exact_N2.diff()).abs().max() > 0.02


@torch.no_grad()
def test_positions_past_the_table_of_angles_extend_it() -> None:
    model = tiny.model()
    forward = CausalForward(model)
    logits_of(forward, TOKENS)
    long = torch.randint(0, 300, (600,), generator=torch.Generator().manual_seed(2))
    own = model(input_ids=long[None]).logits[0]
    torch.testing.assert_close(logits_of(forward, long), own, atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", tiny.UNKNOWN)
def test_a_shape_that_would_be_computed_wrongly_is_not_known(shape: str) -> None:
    assert not is_known(tiny.model(shape))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("sliding_window", 64),
        ("mlp_bias", True),
        ("rope_parameters", {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
    ],
)
def test_a_variant_of_a_known_type_that_is_not_implemented_is_not_known(field: str, value: object) -> None:
    model = tiny.model()
    setattr(model.config, field, value)
    assert not is_known(model)


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
@torch.no_grad()
def test_fused_projections_and_parameters_share_memory_both_ways(shape: str) -> None:
    model = tiny.model(shape)
    forward = CausalForward(model)
    attention, fused = model.model.layers[1].self_attn, forward.layers[1].qkv
    attention.k_proj.weight[0, 0] = 7.0
    assert fused.weight_OE[32, 0] == 7.0  # after 4 query heads of width 8
    fused.weight_OE.mul_(0.5)
    assert attention.k_proj.weight[0, 0] == 3.5
    if shape == "qwen2":
        fused.bias_O.zero_()
        assert not attention.v_proj.bias.any()
    own = model(input_ids=TOKENS[None]).logits[0]
    torch.testing.assert_close(logits_of(forward, TOKENS), own, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_packed_weights_give_the_same_logits_and_unpacking_shows_an_update() -> None:
    forward = CausalForward(tiny.model(dtype=torch.bfloat16))
    before = logits_of(forward, TOKENS)
    forward.pack(len(TOKENS))
    torch.testing.assert_close(logits_of(forward, TOKENS), before, atol=0.15, rtol=0.05)
    forward.head.weight_OE.zero_()
    assert logits_of(forward, TOKENS).any()
    forward.unpack()
    assert not logits_of(forward, TOKENS).any()


@torch.no_grad()
def test_weights_that_never_change_give_way_to_their_packed_copies() -> None:
    model = tiny.model("qwen2-tied", dtype=torch.bfloat16)
    forward = CausalForward(model)
    forward.pack(len(TOKENS))
    before = logits_of(forward, TOKENS)
    forward.pack(len(TOKENS), is_final=True)
    assert torch.equal(logits_of(forward, TOKENS), before)
    kept = {name for name, weight in model.named_parameters() if weight.dim() > 1 and weight.numel()}
    assert kept == {"model.embed_tokens.weight"}


def test_packed_weights_are_never_used_where_gradients_are_wanted() -> None:
    forward = CausalForward(tiny.model(dtype=torch.bfloat16))
    forward.pack(len(TOKENS))
    forward.head.weight_OE.requires_grad_(True)
    logits_of(forward, TOKENS).sum().backward()
    assert forward.head.weight_OE.grad is not None
