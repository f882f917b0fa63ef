"""AdamW over fp32 masters. Hyperparameters are arguments of a step, never state.

Gradients of every micro-batch are added up in fp32; after a step the compute weights are the masters, rounded. Tensors
may be DTensors, of which each rank holds its shard: then all ranks call every method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ethos.training.guard import START_ANEW, Diverged


@dataclass(frozen=True, slots=True)
class OptimParams:
    """Of one step.

    `clip` is the largest norm of the whole gradient (Pascanu et al. 2013). `weight_decay` is that of matrices: what
    scales or shifts single channels, norms and biases, stays where gradients put it.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0


class MasterOptimizer:
    """Owns the fp32 masters of named compute tensors, their gradients, and AdamW's moments.

    AdamW as in Loshchilov and Hutter (2019), algorithm 2.
    """

    def __init__(self, compute: Mapping[str, Tensor]) -> None:
        self._compute = dict(compute)
        # what is computed with in fp32 is its own master: `float` makes no copy of it
        self.masters = {name: tensor.detach().float() for name, tensor in self._compute.items()}
        # two buffers a tensor for the whole run: what backward passes add to, and the sum of this step's objectives
        self._arriving = {name: torch.empty_like(master) for name, master in self.masters.items()}
        self._total = {name: torch.empty_like(master) for name, master in self.masters.items()}
        self._arrived: set[str] = set()  # names whose buffer holds something; the others' content is void
        self._held: set[str] = set()
        self._known_norm: float | None = None  # of all that is held, once somebody has asked
        matrices = [master for master in self.masters.values() if master.ndim > 1]
        vectors = [master for master in self.masters.values() if master.ndim <= 1]
        groups = [{"params": held, "decays": held is matrices} for held in (matrices, vectors) if held]
        self._adam = torch.optim.AdamW(groups, fused=True)
        self._hooks = [
            tensor.requires_grad_(True).register_post_accumulate_grad_hook(
                _collector(name, self._arriving, self._arrived)
            )
            for name, tensor in self._compute.items()
        ]

    @torch.no_grad()
    def gather(self) -> float:
        """Adds what backward passes have left since the last call to the step's gradient, and returns its own norm."""
        if not self._arrived:
            return 0.0
        norm = _norm([self._arriving[name] for name in sorted(self._arrived)])
        self._known_norm = None if self._held else norm
        for name in self._arrived:
            if name in self._held:
                self._total[name] += self._arriving[name]
            else:
                self._total[name], self._arriving[name] = self._arriving[name], self._total[name]
        self._held |= self._arrived
        self._arrived.clear()
        return norm

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The step's gradient so far, of the tensors that have one: what `gather` has added up, before clipping."""
        return {name: total for name, total in self._total.items() if name in self._held}

    def gradient_norm(self) -> float:
        """Of everything gathered in this step, before clipping."""
        if self._known_norm is None:
            self._known_norm = _norm(list(self.gradients.values()))
        return self._known_norm

    @torch.no_grad()
    def step(self, params: OptimParams) -> float:
        """Clips, updates, writes the compute weights, and empties the gradients. Returns the norm before clipping.

        Raises Diverged if the gradient is not finite: a step with it would leave no weight that is a number.
        """
        self.gather()
        norm = self.gradient_norm()
        if not math.isfinite(norm):
            self.clear()
            raise Diverged(f"the gradient's norm is {norm}; {START_ANEW}")
        scale = min(1.0, params.clip / (norm + 1e-6))
        for name, master in self.masters.items():
            if name not in self._held:  # no objective of this step reads it: it stays, its moments too
                master.grad = None
                continue
            gradient = self._total[name]
            master.grad = gradient.mul_(scale) if scale < 1 else gradient
        for group in self._adam.param_groups:
            decay = params.weight_decay if group["decays"] else 0.0
            group.update(lr=params.lr, betas=params.betas, eps=params.eps, weight_decay=decay)
        self._adam.step()
        for name, tensor in self._compute.items():
            tensor.copy_(self.masters[name])
        self.clear()
        return norm

    def clear(self) -> None:
        """Empties the gradients."""
        self._arrived.clear()
        self._held.clear()
        self._known_norm = None

    def release(self) -> None:
        """Lets go of masters, gradients and moments; no step can follow."""
        self.clear()
        for hook in self._hooks:
            hook.remove()
        self._adam = torch.optim.AdamW([torch.empty(0)])
        for held in (self.masters, self._arriving, self._total):
            held.clear()
        for tensor in self._compute.values():
            tensor.requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """Masters and moments as flat named tensors."""
        tensors = {f"master.{name}": master for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self._adam.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

    def place_for(self, name: str) -> Tensor:
        """What the tensor that `state` calls so can be read into, before `load_state`."""
        kind, _, of = name.partition(".")
        if kind == "master":
            return self.masters[of]
        return torch.zeros(()) if kind == "step" else torch.zeros_like(self.masters[of])

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores what `state` gave, bit for bit, and writes the compute weights."""
        for name, master in self.masters.items():
            master.copy_(tensors[f"master.{name}"])
            self._compute[name].copy_(master)
            moments = {
                key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors
            }
            if moments:
                self._adam.state[master] = {key: value.to(master.device).clone() for key, value in moments.items()}
            else:
                self._adam.state.pop(master, None)
        self.clear()


def _collector(name: str, arriving: Mapping[str, Tensor], arrived: set[str]) -> Callable[[Tensor], None]:
    """What moves a tensor's gradient to its buffer after each backward pass.

    It knows no optimizer: a tensor's hooks are out of the garbage collector's sight, so one that led back to its tensor
    would keep both for ever.
    """

    def collect(tensor: Tensor) -> None:
        assert tensor.grad is not None
        if name in arrived:
            arriving[name].add_(tensor.grad)
        else:
            arriving[name].copy_(tensor.grad)
            arrived.add(name)
        tensor.grad = None

    return collect


def _norm(tensors: list[Tensor]) -> float:
    return float(whole(torch.nn.utils.get_total_norm(tensors))) if tensors else 0.0


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which each rank holds a shard; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
