"""One functional forward for Llama- and Qwen-shaped models, for training and decoding alike.

Hugging Face modules own the parameters; projections that are computed as one (query-key-value, gate-up) are views of
one storage, so that both sides see every update. Adapters made by `peft` are read as they are.
Shapes: `N` flat tokens of any number of sequences, `E` model width, `H` query heads, `K` key-value heads, `D` head
width, `F` feed-forward width, `V` vocabulary. Left out on purpose: mixtures of experts, sliding windows, multi-query
variants with their own norms; such models run through their own forward (`models/fallback.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ethos.models.fused import rms_norm, rotate, swiglu

KNOWN_TYPES = ("llama", "mistral", "qwen2", "qwen3")

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query_NHD, key_NKD, value_NKD) -> out_NHD. The only part in which tokens see each other."""


def is_known(model: Any) -> bool:
    """Whether the functional forward computes this model exactly."""
    config = model.config
    rope_type = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return bool(
        config.model_type in KNOWN_TYPES
        and getattr(config, "hidden_act", "silu") == "silu"
        and not getattr(config, "use_sliding_window", False)
        and getattr(config, "sliding_window", None) is None
        and not getattr(config, "mlp_bias", False)
        and getattr(config, "pretraining_tp", 1) == 1
        and rope_type not in ("dynamic", "longrope")  # their angles depend on the length of the sequence
    )


@dataclass(slots=True)
class Adapter:
    """A low-rank update of a projection's output rows from `start` to `stop`."""

    start: int
    stop: int
    a_RE: Tensor
    b_OR: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the forward reads one of its tensors; what is put there is read from then on."""

    holder: Any
    attribute: str

    @property
    def tensor(self) -> Tensor:
        """What is there now."""
        found: Tensor = getattr(self.holder, self.attribute)
        return found

    def put(self, tensor: Tensor) -> None:
        """Reads this one instead."""
        setattr(self.holder, self.attribute, tensor)


ADAPTER = ".adapters."
"""In the name of a slot that holds a factor of an adapter."""


class Projection:
    """A linear map, possibly several Hugging Face ones side by side, with their adapters."""

    def __init__(self, modules: list[Any]) -> None:
        bases = [getattr(m, "base_layer", m) for m in modules]
        self._weights: list[nn.Parameter] = [b.weight for b in bases]
        if len(bases) == 1:
            self.weight_OE: Tensor = bases[0].weight
            self.bias_O: Tensor | None = bases[0].bias
        else:
            self.weight_OE = _share_storage(self._weights)
            biases = [b.bias for b in bases if b.bias is not None]
            self.bias_O = _share_storage(biases) if biases else None
        self.adapters: list[Adapter] = []  # none, or one after another for all rows
        row = 0
        for module, base in zip(modules, bases, strict=True):
            rows = base.weight.shape[0]
            for name in getattr(module, "active_adapters", []):
                a, b = module.lora_A[name].weight, module.lora_B[name].weight
                self.adapters.append(Adapter(row, row + rows, a, b, float(module.scaling[name])))
            row += rows
        assert sum(a.stop - a.start for a in self.adapters) in (0, row), "every part of it has one adapter, or none has"
        self._outputs = row
        self._packed: Tensor | None = None

    def __call__(self, x_NE: Tensor) -> Tensor:
        """X W^T + b, adapters added."""
        if self._packed is not None and not torch.is_grad_enabled():
            packed = torch.ops.mkldnn._linear_pointwise(x_NE, self._packed, self.bias_O, "none", [], "")
            out: Tensor = packed.view(*x_NE.shape[:-1], self._outputs)
        else:
            out = F.linear(x_NE, self.weight_OE, self.bias_O)
        if not self.adapters:
            return out
        updates = [
            F.linear(F.linear(x_NE, adapter.a_RE.to(x_NE.dtype)), adapter.b_OR.to(x_NE.dtype)) * adapter.scale
            for adapter in self.adapters
        ]
        return out + (updates[0] if len(updates) == 1 else torch.cat(updates, dim=-1))

    def one_output(self, x_NE: Tensor, outputs_N: Tensor) -> Tensor:
        """One output a row, shape [N], in fp32 whatever the weights are: bf16 would round it to 8 bits."""
        x_NE = x_NE.float()
        chosen_N = (x_NE * self.weight_OE[outputs_N].float()).sum(dim=-1)
        if self.bias_O is not None:
            chosen_N += self.bias_O[outputs_N].float()
        for adapter in self.adapters:
            inside = (outputs_N >= adapter.start) & (outputs_N < adapter.stop)
            b_NR = adapter.b_OR[(outputs_N - adapter.start).clamp(0, adapter.stop - adapter.start - 1)].float()
            delta_N = (F.linear(x_NE, adapter.a_RE.float()) * b_NR).sum(dim=-1) * adapter.scale
            chosen_N += delta_N * inside
        return chosen_N

    def slots(self) -> Iterator[tuple[str, Slot]]:
        """Its tensors, by what is added to the projection's name."""
        yield "", Slot(self, "weight_OE")
        if self.bias_O is not None:
            yield ".bias", Slot(self, "bias_O")
        for number, adapter in enumerate(self.adapters):
            yield f"{ADAPTER}{number}.a", Slot(adapter, "a_RE")
            yield f"{ADAPTER}{number}.b", Slot(adapter, "b_OR")

    def pack(self, tokens: int) -> None:
        """Reorders a copy of the weight for oneDNN, once instead of in each call: about twice as fast at small N."""
        if self._packed is not None:
            return
        weight = self.weight_OE.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)

    def unpack(self) -> None:
        """Forgets the reordered copy, which a change of the weights has made stale."""
        self._packed = None

    def let_go(self) -> None:
        """Empties the model's own parameters: others will be put into the slots."""
        for tensor in (*self._weights, self.bias_O):
            if tensor is not None:
                tensor.data = tensor.data.new_empty(0)

    def give_up_weight(self) -> None:
        """Leaves the packed copy alone in memory: the model that the weight is of can't be used any more."""
        assert self._packed is not None
        self.weight_OE = self.weight_OE.new_empty(0)
        for weight in self._weights:
            weight.data = self.weight_OE


def _share_storage(parameters: list[nn.Parameter]) -> Tensor:
    """One tensor that holds all of them, row after row; each parameter becomes a view of its part.

    Those that lie so already, as the weights of a model that another forward reads, are left where they are.
    """
    lying = _lying_together(parameters)
    whole = torch.cat([p.data for p in parameters]) if lying is None else lying
    row = 0
    for parameter in parameters:
        rows = parameter.shape[0]
        parameter.data = whole[row : row + rows]
        parameter.requires_grad_(False)
        row += rows
    return whole


def _lying_together(parameters: list[nn.Parameter]) -> Tensor | None:
    """What holds them if each begins where the last one ends; else None."""
    first, place = parameters[0], parameters[0].storage_offset()
    for parameter in parameters:
        is_same = parameter.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (is_same and parameter.storage_offset() == place and parameter.is_contiguous()):
            return None
        place += parameter.numel()
    rows = sum(parameter.shape[0] for parameter in parameters)
    return first.data.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


class Layer:
    """One transformer block's weights."""

    def __init__(self, block: Any) -> None:
        attention, feed_forward = block.self_attn, block.mlp
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = Projection([attention.o_proj])
        self.gate_up = Projection([feed_forward.gate_proj, feed_forward.up_proj])
        self.down = Projection([feed_forward.down_proj])
        self.norm_before_attention: Tensor = block.input_layernorm.weight
        self.norm_before_feed_forward: Tensor = block.post_attention_layernorm.weight
        self.query_norm: Tensor | None = attention.q_norm.weight if hasattr(attention, "q_norm") else None
        self.key_norm: Tensor | None = attention.k_norm.weight if hasattr(attention, "k_norm") else None

    def projections(self) -> tuple[Projection, ...]:
        """All four."""
        return self.qkv, self.out, self.gate_up, self.down

    def slots(self) -> dict[str, Slot]:
        """Its tensors by name."""
        found = {f"{part}{name}": slot for part in _PARTS for name, slot in getattr(self, part).slots()}
        return found | {part: Slot(self, part) for part in _NORMS if getattr(self, part) is not None}


_PARTS = ("qkv", "out", "gate_up", "down")
_NORMS = ("norm_before_attention", "norm_before_feed_forward", "query_norm", "key_norm")


class CausalForward:
    """Tokens to hidden states, by the parameters of a Hugging Face causal language model."""

    def __init__(self, model: Any) -> None:
        config = model.config
        causal: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # under peft's wrapper
        trunk = causal.model
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_width: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.widest: int = 2 * config.intermediate_size  # of the activations: gate and up side by side
        self.epsilon: float = config.rms_norm_eps
        self.embedding_VE: Tensor = trunk.embed_tokens.weight
        self.head = Projection([causal.lm_head])
        self.final_norm: Tensor = trunk.norm.weight
        self.layers = [Layer(block) for block in trunk.layers]
        self.blocks: list[Callable[..., Tensor]] = [
            partial(self.block, index, layer) for index, layer in enumerate(self.layers)
        ]
        self._rotary_module = trunk.rotary_emb
        self._cos_PD = torch.empty(0)
        self._sin_PD = torch.empty(0)

    @property
    def dtype(self) -> torch.dtype:
        """Of the compute weights."""
        return self.embedding_VE.dtype

    @property
    def device(self) -> torch.device:
        """Of the compute weights."""
        return self.embedding_VE.device

    def hidden(self, tokens_N: Tensor, positions_N: Tensor, attend: Attend, *, recomputed: int = 0) -> Tensor:
        """Final, normed hidden states, shape [N, E]; `attend` decides who sees whom.

        Of the first `recomputed` blocks only what enters them is kept for the backward pass, which computes the rest
        again (Chen et al. 2016, section 3).
        """
        x_NE = F.embedding(tokens_N, self.embedding_VE)
        cos_ND, sin_ND = self._rotary(positions_N)
        for index, block in enumerate(self.blocks):
            if index < recomputed and torch.is_grad_enabled():
                x_NE = checkpoint(block, x_NE, cos_ND, sin_ND, attend, use_reentrant=False, preserve_rng_state=False)
            else:
                x_NE = block(x_NE, cos_ND, sin_ND, attend)
        return self._norm(x_NE, self.final_norm)

    def block(self, index: int, layer: Layer, x_NE: Tensor, cos_ND: Tensor, sin_ND: Tensor, attend: Attend) -> Tensor:
        """One transformer block: attention, then the feed-forward, each added to what came in."""
        normed_NE = self._norm(x_NE, layer.norm_before_attention)
        x_NE = x_NE + self._attention(index, layer, normed_NE, cos_ND, sin_ND, attend)
        return x_NE + layer.down(swiglu(layer.gate_up(self._norm(x_NE, layer.norm_before_feed_forward))))

    def logits(self, hidden_NE: Tensor) -> Tensor:
        """Shape [N, V], fp32."""
        return self.head(hidden_NE).float()

    def logprobs(self, hidden_NE: Tensor, targets_N: Tensor) -> Tensor:
        """Log p(target) of each row, fp32, shape [N]; at most 0.

        The targets' own logits aren't rounded to bf16, where those of 16 to 32 lie 0.125 apart: that would leave the
        odds of one answer against another on a grid of 0.03. What rounding is left is in the normaliser, where it
        averages out and which alternatives share.
        """
        return (self.head.one_output(hidden_NE, targets_N) - self.logits(hidden_NE).logsumexp(dim=-1)).clamp_(max=0)

    def _attention(
        self, index: int, layer: Layer, x_NE: Tensor, cos_ND: Tensor, sin_ND: Tensor, attend: Attend
    ) -> Tensor:
        heads, kv_heads, width = self.heads, self.kv_heads, self.head_width
        mixed = layer.qkv(x_NE).view(-1, heads + 2 * kv_heads, width)
        turned, value_NKD = mixed.split((heads + kv_heads, kv_heads), dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query_NHD, key_NKD = turned.split((heads, kv_heads), dim=1)
            turned = torch.cat([self._norm(query_NHD, layer.query_norm), self._norm(key_NKD, layer.key_norm)], dim=1)
        query_NHD, key_NKD = rotate(turned, cos_ND, sin_ND).split((heads, kv_heads), dim=1)
        out_NHD = attend(index, query_NHD, key_NKD, value_NKD)
        return layer.out(out_NHD.reshape(-1, heads * width))

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight, self.epsilon)

    def _rotary(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        needed = int(positions_N.max()) + 1
        if needed > self._cos_PD.shape[0]:
            every = torch.arange(max(512, 2 * needed), device=self.device)
            with torch.no_grad():
                cos, sin = self._rotary_module(self.embedding_VE[:1], every[None])
            self._cos_PD, self._sin_PD = cos[0], sin[0]
        return self._cos_PD[positions_N, None], self._sin_PD[positions_N, None]

    def slots(self) -> dict[str, Slot]:
        """Every tensor that it reads, by name; a head that is the embedding has no name of its own."""
        found = {"embedding": Slot(self, "embedding_VE"), "final_norm": Slot(self, "final_norm")}
        if self.head.weight_OE is not self.embedding_VE:
            found["head"] = Slot(self.head, "weight_OE")
        for index, layer in enumerate(self.layers):
            found |= {f"layers.{index}.{name}": slot for name, slot in layer.slots().items()}
        return found

    def projections(self) -> Iterator[Projection]:
        """Every projection, the head last."""
        for layer in self.layers:
            yield from layer.projections()
        yield self.head

    def pack(self, tokens: int, *, is_final: bool = False) -> None:
        """Packs every projection for calls of about `tokens` tokens; a no-op where oneDNN's bf16 path isn't there.

        `is_final` says that the weights will never change, and that only this forward uses them: they give way to
        their packed copies. The head's stay, which may be the embedding too.
        """
        if self.device.type == "cpu" and self.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
            for projection in self.projections():
                projection.pack(tokens)
                if is_final and projection is not self.head:
                    projection.give_up_weight()

    def unpack(self) -> None:
        """Forgets packed copies; to be called when the weights have changed.

        Of a model with adapters it is those that change, and they are never packed.
        """
        if any(projection.adapters for projection in self.projections()):
            return
        for projection in self.projections():
            projection.unpack()
