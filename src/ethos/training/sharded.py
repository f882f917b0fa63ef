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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from ethos.errors import EthosError
from ethos.models.architecture import Attend, CausalForward, Slot, is_known
from ethos.models.attention import PackedAttention
from ethos.models.loading import Loaded, compute_dtype
from ethos.models.loading import load as load_model
from ethos.models.templates import ChatTemplate
from ethos.store.config.training import TrainingConfig
from ethos.store.sealed_folders import require_intact, seal, unsealed
from ethos.training.accumulation import Share, StepMetrics, accumulate
from ethos.training.batch import Batch
from ethos.training.export import export_model
from ethos.training.objectives.types import Loss, Mean, Objective
from ethos.training.optimizer import MasterOptimizer, OptimParams, whole
from ethos.training.outputs import HiddenOutputs
from ethos.training.policy import new_scalar_head, trainable, with_adapters

T = TypeVar("T")
_EXTRA = "extra.json"


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

    def forward(self, batch: Batch, objective: Objective, recomputed: int) -> tuple[Tensor, Mapping[str, Mean]]:
        """What a `Loss` holds: FSDP looks for the tensors that a backward pass starts from in tuples and the like."""
        functional = self._functional
        self.put()
        if self._is_tied:
            functional.head.weight_OE = functional.embedding_VE
        attend = PackedAttention(batch.spans, batch.tokens_N.device)
        hidden_NE = functional.hidden(batch.tokens_N, batch.positions_N, attend, recomputed=recomputed)
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
        self.template, self.config, self.recomputed = template, config, 0
        self._forward = CausalForward(model)
        self._ranks = _MeshRanks(mesh, loaded.model.device)
        head = new_scalar_head(self._forward) if scalar_head else None
        # `auto` is a matter of each machine's speed
        dtype = self._ranks.from_first(lambda: compute_dtype(config.precision))
        names = frozenset(trainable(self._forward, config.method))
        self._model = _sharded(self._forward, names, head, dtype, mesh)
        trained = {_name(name): p for name, p in self._model.named_parameters() if p.requires_grad}
        self.optimizer = MasterOptimizer(trained)

    def forward_backward(self, given: Share, objective: Objective, weight: float) -> StepMetrics:
        """As `Policy.forward_backward`, over the shares of all ranks.

        Raises Diverged, on every rank, if the loss is not finite; no gradient is kept then.
        """

        def loss_of(batch: Batch) -> Loss:
            return Loss(*self._model(batch.to(self._ranks.device), objective, self.recomputed))

        return accumulate(given, objective, weight, loss_of, self.optimizer, self._ranks)

    def optim_step(self, params: OptimParams) -> float:
        """As `Policy.optim_step`."""
        return self.optimizer.step(params)

    def save(self, directory: Path, extra: Mapping[str, Any]) -> None:
        """Writes a distributed checkpoint, each rank its shards, into a folder that is whole or not there.

        Any number of ranks can load it.
        """
        partial = self._ranks.from_first(lambda: unsealed(directory))
        save(self.optimizer.state(), checkpoint_id=partial)
        self._ranks.from_first(lambda: _seal(partial, directory, extra))

    def load(self, directory: Path) -> dict[str, Any]:
        """Restores what any number of ranks saved, and returns the caller's own state.

        Raises EthosError, on every rank, if a file isn't what was written.
        """
        self._ranks.from_first(lambda: require_intact(directory, "load another checkpoint"))
        names = FileSystemReader(directory).read_metadata().state_dict_metadata
        trained = {name.removeprefix("master.") for name in names if name.startswith("master.")}
        if trained != self.optimizer.masters.keys():
            raise EthosError(
                f"{directory}: holds other tensors than this policy trains; give it the model, method and "
                "heads that it was saved with"
            )
        state = {name: self.optimizer.place_for(name) for name in names}
        load(state, checkpoint_id=directory)
        self.optimizer.load_state(state)
        extra: dict[str, Any] = json.loads((directory / _EXTRA).read_text(encoding="utf-8"))
        return extra

    def whole_masters(self) -> dict[str, Tensor]:
        """All trained tensors, gathered one by one, on the CPU of rank 0; nothing on the others.

        Under the names that `Policy.optimizer` has them by.
        """
        gathered = {name: whole(master) for name, master in self.optimizer.masters.items()}
        return {name: tensor.cpu() for name, tensor in gathered.items()} if self._ranks.is_first else {}

    @torch.no_grad()
    def export(self, source: Path, directory: Path) -> None:
        """Writes a Hugging Face directory as `Policy.export` does, from rank 0, which holds the whole model for it.

        `source` is the directory that the model was loaded from.
        """
        masters = self.whole_masters()
        self._ranks.from_first(lambda: self._export(masters, source, directory))

    def _export(self, masters: Mapping[str, Tensor], source: Path, directory: Path) -> None:
        model = load_model(source, self.config.precision).model.cpu()
        if self.config.method == "lora":
            model = with_adapters(model, self.config)
        for name, slot in CausalForward(model).slots().items():
            if name in masters:
                slot.tensor.copy_(masters[name])
        export_model(model, self.template.tokenizer, directory)


class _MeshRanks:
    """The ranks of a mesh, as `Ranks`."""

    def __init__(self, mesh: DeviceMesh, device: torch.device) -> None:
        self.size, self.device, self._group = mesh.size(), device, mesh.get_group()

    @property
    def is_first(self) -> bool:
        return dist.get_rank(self._group) == 0

    def sum(self, value: float) -> float:
        return self._reduced(value, dist.ReduceOp.SUM)

    def most(self, value: float) -> float:
        return self._reduced(value, dist.ReduceOp.MAX)

    def _reduced(self, value: float, how: Any) -> float:
        tensor = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=how, group=self._group)
        return float(tensor)

    def from_first(self, act: Callable[[], T]) -> T:
        """What the first rank gets from it, on all of them; an error that it meets is raised on all."""
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = act()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, group=self._group, group_src=0)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result


def _sharded(
    forward: CausalForward,
    trained: frozenset[str],
    scalar_head_E: Tensor | None,
    dtype: torch.dtype,
    mesh: DeviceMesh,
) -> nn.Module:
    slots = forward.slots()
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    scalar_head = None if scalar_head_E is None else _ScalarHead(scalar_head_E)
    if scalar_head is not None:
        fully_shard(scalar_head, mesh=mesh)
    blocks = []
    for index, layer in enumerate(forward.layers):  # one after another: only one block is whole in fp32 at a time
        own = {name: slot for name, slot in slots.items() if name.startswith(f"layers.{index}.")}
        blocks.append(_Block(own, trained, forward, index))
        fully_shard(blocks[-1], mesh=mesh, mp_policy=policy)
        for projection in layer.projections():
            projection.let_go()
    rest = {name: slot for name, slot in slots.items() if not name.startswith("layers.")}
    whole = _Whole(rest, trained, forward, blocks, scalar_head)
    fully_shard(whole, mesh=mesh, mp_policy=policy)
    forward.head.let_go()
    forward.blocks = list(blocks)
    return whole


def _name(parameter: str) -> str:
    """As `Policy` names it: blocks are named after their layers already."""
    return parameter.rpartition(".")[2].replace("/", ".")


def _seal(partial: Path, directory: Path, extra: Mapping[str, Any]) -> None:
    (partial / _EXTRA).write_text(json.dumps(extra), encoding="utf-8")
    seal(partial, directory)
