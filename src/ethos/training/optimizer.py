"""AdamW over fp32 masters. Hyperparameters are arguments of a step, never state.

Gradients of every micro-batch are added up in fp32; after a step the compute weights are the masters, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ethos.errors import EthosError


@dataclass(frozen=True, slots=True)
class OptimParams:
    """Of one step. `clip` is the largest norm of the whole gradient (Pascanu et al. 2013)."""

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
        self.masters = {name: tensor.detach().float().clone() for name, tensor in self._compute.items()}
        self.gradients: dict[str, Tensor] = {name: torch.zeros_like(master) for name, master in self.masters.items()}
        self._adam = torch.optim.AdamW(self.masters.values(), fused=True)
        for name, tensor in self._compute.items():
            tensor.requires_grad_(True)
            tensor.register_post_accumulate_grad_hook(self._collector(name))

    def _collector(self, name: str) -> Callable[[Tensor], None]:
        def collect(tensor: Tensor) -> None:
            assert tensor.grad is not None
            self.gradients[name] += tensor.grad
            tensor.grad = None

        return collect

    def gradient_norm(self) -> float:
        """Of everything gathered so far, before clipping."""
        return float(torch.nn.utils.get_total_norm(self.gradients.values()))

    @torch.no_grad()
    def step(self, params: OptimParams) -> float:
        """Clips, updates, writes the compute weights, and empties the gradients. Returns the norm before clipping.

        Raises EthosError if the gradient is not finite: a step with it would leave no weight that is a number.
        """
        norm = self.gradient_norm()
        if not math.isfinite(norm):
            self.clear()
            raise EthosError(f"the gradient's norm is {norm}; lower knobs.lr, or withdraw the rows of this step")
        scale = min(1.0, params.clip / (norm + 1e-6))
        for name, master in self.masters.items():
            gradient = self.gradients[name]
            master.grad = gradient.mul_(scale) if scale < 1 else gradient
        for group in self._adam.param_groups:
            group.update(lr=params.lr, betas=params.betas, eps=params.eps, weight_decay=params.weight_decay)
        self._adam.step()
        for name, tensor in self._compute.items():
            tensor.copy_(self.masters[name])
        self.clear()
        return norm

    def clear(self) -> None:
        """Empties the gradients."""
        for gradient in self.gradients.values():
            gradient.zero_()

    def state(self) -> dict[str, Tensor]:
        """Masters and moments as flat named tensors."""
        tensors = {f"master.{name}": master for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self._adam.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

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
