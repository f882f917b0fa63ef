"""The same step on many devices: weights, gradients and moments sharded by FSDP2, one process a device.

    torchrun --nproc-per-node 8 examples/sharded_sft.py

The functional forward is the one that a single process trains with; each block is a module here, so that its weights
are gathered when it is computed and let go of after. Each rank computes its share of a step's micro-batches; units and
losses are summed over ranks, so that the step is the one that one process would take, up to rounding. Tested on CPUs
with gloo; the path for CUDA and NCCL is the same code and was not run. Left out on purpose: models of unknown shape,
tensor and pipeline parallelism, and sampling from sharded weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from ethos.errors import EthosError
from ethos.models.architecture import Attend, CausalForward, Slot, is_known
from ethos.models.attention import PackedAttention
from ethos.models.loading import Loaded, compute_dtype
from ethos.models.loading import load as load_model
from ethos.models.templates import ChatTemplate
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import Batch
from ethos.training.export import export_model
from ethos.training.guard import START_ANEW, Diverged
from ethos.training.objectives.types import Mean, Objective
from ethos.training.optimizer import OptimParams
from ethos.training.outputs import HiddenOutputs
from ethos.training.policy import StepMetrics, new_scalar_head, trainable, with_adapters

EXTRA = "extra.json"


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank computes of a step's micro-batches.

    All ranks go forward and backward as often as the busiest; one that has fewer computes `spare` for no gradient.
    """

    batches: tuple[Batch, ...]
    spare: Batch


def share(batches: Sequence[Batch], rank: int, ranks: int) -> Share:
    """Every rank's micro-batches in turn. Raises ValueError if there are none at all."""
    if not batches:
        raise ValueError("a step without a micro-batch has nothing to share out")
    return Share(tuple(batches[rank::ranks]), batches[0])


class _Shard(nn.Module):
    """Some of a forward's tensors as parameters, which are put into its slots whenever they are to be read."""

    def __init__(self, slots: Mapping[str, Slot], trained: frozenset[str]) -> None:
        super().__init__()
        self._slots = dict(slots)
        for name, slot in slots.items():
            tensor = slot.tensor.detach().float().clone()  # FSDP2 wants one dtype; gathered in that of compute
            self.register_parameter(_as_attribute(name), nn.Parameter(tensor, requires_grad=name in trained))

    def put(self) -> None:
        """To be called while the parameters are gathered."""
        for name, slot in self._slots.items():
            slot.put(getattr(self, _as_attribute(name)))


def _as_attribute(name: str) -> str:
    return name.replace(".", "/")


class _Block(_Shard):
    """One transformer block."""

    def __init__(self, slots: Mapping[str, Slot], trained: frozenset[str], forward: CausalForward, index: int) -> None:
        super().__init__(slots, trained)
        self._functional, self._index = forward, index

    def forward(self, x_NE: Tensor, cos_ND: Tensor, sin_ND: Tensor, attend: Attend) -> Tensor:
        """As `CausalForward.block`."""
        self.put()
        return self._functional.block(self._index, self._functional.layers[self._index], x_NE, cos_ND, sin_ND, attend)


class _ScalarHead(nn.Module):
    """Gathered in fp32 whatever the blocks compute in, as in one process: bf16 would round a reward to 8 bits."""

    def __init__(self, scalar_head_E: Tensor) -> None:
        super().__init__()
        self.scalar_head = nn.Parameter(scalar_head_E.float())

    def forward(self) -> Tensor:
        """A copy, which stays when the gathered one is let go of."""
        return self.scalar_head.clone()


class _Whole(_Shard):
    """Embedding, final norm, heads, and the blocks: from a batch to an objective's loss."""

    def __init__(
        self,
        slots: Mapping[str, Slot],
        trained: frozenset[str],
        forward: CausalForward,
        blocks: Sequence[_Block],
        scalar_head: _ScalarHead | None,
    ) -> None:
        super().__init__(slots, trained)
        self._functional = forward
        self.blocks = nn.ModuleList(blocks)
        self.scalar_head = scalar_head
        self._is_tied = "head" not in slots

    def forward(self, batch: Batch, objective: Objective, checkpointing: bool) -> tuple[Tensor, Mapping[str, Mean]]:
        """The sum of the loss over the batch, and what the objective watches."""
        functional = self._functional
        self.put()
        if self._is_tied:
            functional.head.weight_OE = functional.embedding_VE
        attend = PackedAttention(batch.spans, batch.tokens_N.device)
        hidden_NE = functional.hidden(batch.tokens_N, batch.positions_N, attend, checkpointing=checkpointing)
        scalar_head_E = None if self.scalar_head is None else self.scalar_head()
        loss = objective.loss(HiddenOutputs(batch, hidden_NE, functional.head.weight_OE, scalar_head_E), batch)
        return loss.total, loss.metrics


class ShardedPolicy:
    """A causal language model with its optimizer, spread over the ranks of a mesh; every method is called by all."""

    def __init__(
        self,
        loaded: Loaded,
        template: ChatTemplate,
        config: TrainingConfig,
        seed: int,
        mesh: DeviceMesh,
        *,
        scalar_head: bool = False,
    ) -> None:
        """`loaded` holds the same weights on all ranks.

        Raises EthosError for a model of unknown shape.
        """
        torch.manual_seed(seed)
        model = with_adapters(loaded.model, config) if config.method == "lora" else loaded.model
        if not is_known(loaded.model):
            raise EthosError("only Llama- and Qwen-shaped models are sharded; train another one in a single process")
        self.template, self.config, self.checkpointing = template, config, False
        self._forward = CausalForward(model)
        self._ranks, self._group = mesh.size(), mesh.get_group()
        self._device = loaded.model.device
        head = new_scalar_head(self._forward) if scalar_head else None
        self._model = _sharded(self._forward, trainable(self._forward, config.method), head, config, mesh)
        self.parameters = {_name(name): p for name, p in self._model.named_parameters() if p.requires_grad}
        self._totals: dict[str, Tensor] = {}
        self._adam = torch.optim.AdamW(self.parameters.values(), foreach=True)

    def forward_backward(self, given: Share, objective: Objective, weight: float) -> StepMetrics:
        """As `Policy.forward_backward`, over the shares of all ranks.

        Raises Diverged, on every rank, if the loss is not finite; no gradient is kept then.
        """
        own = [objective.units(batch) for batch in given.batches]
        units, rounds = self._sum(sum(own)), self._most(len(given.batches))
        if weight == 0 or units == 0:
            return StepMetrics(0.0, 0, 0, 0, 0.0)
        total, watched = 0.0, dict[str, Mean]()
        for turn in range(rounds):
            counts = turn < len(given.batches)
            batch = (given.batches[turn] if counts else given.spare).to(self._device)
            loss, metrics = self._model(batch, objective, self.checkpointing)
            # FSDP2 takes the mean over ranks
            (loss * (weight / units * self._ranks * counts)).backward()
            total += float(loss.detach()) * counts
            for name, mean in metrics.items():
                watched[name] = watched.get(name, Mean(0, 0)) + (mean if counts else Mean(0, 0))
        total = self._sum(total)
        if not math.isfinite(total):
            self._clear()
            raise Diverged(f"the loss of {objective.name} is {total}; {START_ANEW}")
        tokens = self._sum(sum(batch.tokens for batch in given.batches))
        targets = self._sum(sum(int(batch.targets_M.shape[0]) for batch in given.batches))
        summed = {name: Mean(self._sum(mean.total), self._sum(mean.count)) for name, mean in sorted(watched.items())}
        means = {name: mean.value for name, mean in summed.items()}
        return StepMetrics(total / units, int(units), int(tokens), int(targets), self._gather(), means)

    def _gather(self) -> float:
        """Adds what the backward passes left to the step's gradient; returns its own norm."""
        arrived = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        norm = _norm(arrived.values())
        for name, gradient in arrived.items():
            self._totals[name] = self._totals[name] + gradient if name in self._totals else gradient
            self.parameters[name].grad = None
        return norm

    def gradient(self, name: str) -> Tensor:
        """The whole gradient of one tensor in this step so far."""
        return _whole(self._totals[name])

    def optim_step(self, params: OptimParams) -> float:
        """As `Policy.optim_step`."""
        norm = _norm(self._totals.values())
        if not math.isfinite(norm):
            self._clear()
            raise Diverged(f"the gradient's norm is {norm}; {START_ANEW}")
        scale = min(1.0, params.clip / (norm + 1e-6))
        for name, parameter in self.parameters.items():
            gradient = self._totals.get(name)
            parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient * scale
        for group in self._adam.param_groups:
            group.update(lr=params.lr, betas=params.betas, eps=params.eps, weight_decay=params.weight_decay)
        self._adam.step()
        self._clear()
        return norm

    def _clear(self) -> None:
        self._totals.clear()
        for parameter in self.parameters.values():
            parameter.grad = None

    def save(self, directory: Path, extra: Mapping[str, Any]) -> None:
        """Writes a distributed checkpoint, each rank its shards; any number of ranks can load it."""
        save(self._state(), checkpoint_id=directory)
        if dist.get_rank(self._group) == 0:
            (directory / EXTRA).write_text(json.dumps(extra), encoding="utf-8")
        dist.barrier(self._group)

    def load(self, directory: Path) -> dict[str, Any]:
        """Restores what any number of ranks saved, and returns the caller's own state."""
        for parameter in self.parameters.values():  # so that there are moments to load into
            parameter.grad = torch.zeros_like(parameter)
        for group in self._adam.param_groups:
            group["lr"] = 0.0
        self._adam.step()
        self._clear()
        state = self._state()
        load(state, checkpoint_id=directory)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state[f"master.{name}"])
                self._adam.state[parameter]["step"].copy_(state[f"step.{name}"])
        extra: dict[str, Any] = json.loads((directory / EXTRA).read_text(encoding="utf-8"))
        return extra

    def _state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            state[f"master.{name}"] = parameter.detach()
            for key, value in self._adam.state.get(parameter, {}).items():
                state[f"{key}.{name}"] = value
        return state

    def whole_masters(self) -> dict[str, Tensor]:
        """All trained tensors, gathered one by one, on the CPU of rank 0; nothing on the others.

        Under the names that `Policy.optimizer` has them by.
        """
        is_first = dist.get_rank(self._group) == 0
        masters = {}
        for name, parameter in self.parameters.items():
            gathered = _whole(parameter.detach())
            if is_first:
                masters[name] = gathered.cpu()
        return masters

    @torch.no_grad()
    def export(self, source: Path, directory: Path) -> None:
        """Writes a Hugging Face directory as `Policy.export` does, from rank 0, which holds the whole model for it.

        `source` is the directory that the model was loaded from.
        """
        masters = self.whole_masters()
        if dist.get_rank(self._group) == 0:
            model = load_model(source, self.config.precision).model.cpu()
            if self.config.method == "lora":
                model = with_adapters(model, self.config)
            for name, slot in CausalForward(model).slots().items():
                if name in masters:
                    slot.tensor.copy_(masters[name])
            export_model(model, self.template.tokenizer, directory)
        dist.barrier(self._group)

    def _sum(self, value: float) -> float:
        return self._reduced(value, dist.ReduceOp.SUM)

    def _most(self, value: int) -> int:
        return int(self._reduced(value, dist.ReduceOp.MAX))

    def _reduced(self, value: float, how: Any) -> float:
        tensor = torch.tensor(float(value), dtype=torch.float64, device=self._device)
        dist.all_reduce(tensor, op=how, group=self._group)
        return float(tensor)


def _sharded(
    forward: CausalForward,
    trained: Mapping[str, Tensor],
    scalar_head_E: Tensor | None,
    config: TrainingConfig,
    mesh: DeviceMesh,
) -> nn.Module:
    names, slots = frozenset(trained), forward.slots()
    chosen = [compute_dtype(config.precision)]
    dist.broadcast_object_list(
        chosen, group=mesh.get_group(), group_src=0
    )  # `auto` is a matter of each machine's speed
    policy = MixedPrecisionPolicy(param_dtype=chosen[0], reduce_dtype=torch.float32, cast_forward_inputs=False)
    scalar_head = None if scalar_head_E is None else _ScalarHead(scalar_head_E)
    if scalar_head is not None:
        fully_shard(scalar_head, mesh=mesh)
    blocks = []
    for index, layer in enumerate(forward.layers):  # one after another: only one block is whole in fp32 at a time
        own = {name: slot for name, slot in slots.items() if name.startswith(f"layers.{index}.")}
        blocks.append(_Block(own, names, forward, index))
        fully_shard(blocks[-1], mesh=mesh, mp_policy=policy)
        for projection in layer.projections():
            projection.let_go()
    rest = {name: slot for name, slot in slots.items() if not name.startswith("layers.")}
    whole = _Whole(rest, names, forward, blocks, scalar_head)
    fully_shard(whole, mesh=mesh, mp_policy=policy)
    forward.head.let_go()
    forward.blocks = list(blocks)
    return whole


def _name(parameter: str) -> str:
    """As `Policy` names it: blocks are named after their layers already."""
    return parameter.rpartition(".")[2].replace("/", ".")


def _norm(gradients: Any) -> float:
    found = list(gradients)
    return float(_whole(torch.nn.utils.get_total_norm(found))) if found else 0.0


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
