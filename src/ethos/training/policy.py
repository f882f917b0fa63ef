"""The policy: the student while it trains, behind five primitives.

`forward_backward` once an objective in a step, `optim_step`, `save`, `load` and `export`. All of them run on the
compute thread; an engine over the same `forward` samples from the very weights that are trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ethos import __version__
from ethos.errors import EthosError
from ethos.models import kernels
from ethos.models.architecture import ADAPTER, KNOWN_TYPES, CausalForward, is_known
from ethos.models.loading import Loaded, load, sharing_weights
from ethos.models.templates import ChatTemplate
from ethos.process import give_back_freed_memory
from ethos.store.config.training import TrainingConfig
from ethos.training.accumulation import Alone, StepMetrics, accumulate, share
from ethos.training.batch import Batch
from ethos.training.export import base_of, export_adapter, export_model, export_reward_model
from ethos.training.objectives.types import Loss, Objective
from ethos.training.optimizer import MasterOptimizer, OptimParams
from ethos.training.outputs import Outputs, outputs_of


class Policy:
    """A causal language model with its optimizer."""

    def __init__(
        self, loaded: Loaded, template: ChatTemplate, config: TrainingConfig, seed: int, *, scalar_head: bool = False
    ) -> None:
        """`scalar_head` gives it a head for `reward_model`, beside the one that predicts tokens."""
        torch.manual_seed(seed)
        self.template, self.config = template, config
        model = with_adapters(loaded.model, config) if config.method == "lora" else loaded.model
        self.loaded = Loaded(model, loaded.tokenizer, loaded.end_tokens)
        self.forward = CausalForward(model) if is_known(base_of(model)) else None
        self.scalar_head_E = new_scalar_head(self.forward) if scalar_head else None
        self.optimizer = MasterOptimizer(self._trainable())
        self.recomputed = 0  # of the first blocks, those that are computed again in the backward pass to save memory

    @property
    def model(self) -> Any:
        """The Hugging Face module that owns the parameters; under `peft`'s wrapper with adapters."""
        return self.loaded.model

    @property
    def device(self) -> torch.device:
        """Of the compute weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def _trainable(self) -> dict[str, Tensor]:
        scalar_head = {} if self.scalar_head_E is None else {"scalar_head": self.scalar_head_E}
        return {**self._trainable_weights(), **scalar_head}

    def _trainable_weights(self) -> dict[str, Tensor]:
        is_lora = self.config.method == "lora"
        if self.forward is None:
            return {name: p for name, p in self.model.named_parameters() if not is_lora or "lora_" in name}
        return trainable(self.forward, self.config.method)

    def outputs(self, batch: Batch) -> Outputs:
        """What a loss may ask for, differentiable in the trainable weights."""
        return outputs_of(base_of(self.model), self.forward, batch, self.scalar_head_E, recomputed=self.recomputed)

    def forward_backward(self, batches: Sequence[Batch], objective: Objective, weight: float) -> StepMetrics:
        """Adds weight × the gradient of the objective's mean over its units, over all micro-batches.

        A weight of 0 does nothing at all. Raises Diverged if the loss is not finite; no gradient is kept then.
        """

        def loss_of(batch: Batch) -> Loss:
            return objective.loss(self.outputs(batch), batch.to(self.device))

        return accumulate(share(batches, 0, 1), objective, weight, loss_of, self.optimizer, Alone())

    def optim_step(self, params: OptimParams) -> float:
        """One AdamW step with these hyperparameters. Returns the gradient's norm before clipping.

        Raises Diverged if the gradient is not finite; it is thrown away then, and the weights stay.
        """
        return self.optimizer.step(params)

    def save(self, directory: Path, extra: Mapping[str, Any]) -> None:
        """Writes all that training needs to go on bit for bit: masters, moments, RNG, the caller's state."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.optimizer.state().items()}
        tensors["rng.torch"] = torch.get_rng_state()
        save_file(tensors, directory / "state.safetensors", metadata={"extra": json.dumps(extra)})

    @property
    def state_bytes(self) -> int:
        """Size of what `save` writes."""
        return sum(tensor.nbytes for tensor in self.optimizer.state().values())

    def load(self, directory: Path) -> dict[str, Any]:
        """Restores what `save` wrote, and returns the caller's own state."""
        path = directory / "state.safetensors"
        tensors = load_file(path)
        torch.set_rng_state(tensors.pop("rng.torch"))
        self.optimizer.load_state(tensors)
        with safe_open(path, framework="pt") as file:
            extra: dict[str, Any] = json.loads(file.metadata()["extra"])
        return extra

    def end_training(self) -> None:
        """Frees what only training needs, most of a policy's memory; its weights stay and are not trained again."""
        self.optimizer.release()
        give_back_freed_memory()

    @torch.no_grad()
    def build(self) -> dict[str, str]:
        """What losses and draws depend on bit for bit, beside rows and steps; asked on the thread that computes."""
        weights = next(self.model.parameters())
        return {
            "ethos": __version__,
            "torch": torch.__version__,
            "device": str(weights.device.type),
            "processor": processor(weights.device),
            "precision": str(weights.dtype).removeprefix("torch."),
            "threads": str(torch.get_num_threads()),
            "small parts": "compiled functions" if kernels.can_take(weights) else "PyTorch's operations",
        }

    def export(self, directory: Path) -> None:
        """Writes the model as a Hugging Face directory; see `training/export.py`."""
        export_model(self.model, self.loaded.tokenizer, directory)

    def save_adapter(self, directory: Path) -> None:
        """Writes the adapters alone; for LoRA only."""
        assert self.config.method == "lora", "a policy that trains all weights has no adapter"
        export_adapter(self.model, directory)

    def export_reward_model(self, directory: Path) -> None:
        """Writes trunk and scalar head as a Hugging Face directory for sequence classification."""
        assert self.scalar_head_E is not None, "this policy has no scalar head"
        export_reward_model(self.model, self.template, self.optimizer.masters["scalar_head"], directory)


def processor(device: torch.device) -> str:
    """Which instructions a CPU computes with, or which GPU it is: they decide how sums are rounded."""
    if device.type == "cpu":
        return str(torch.backends.cpu.get_cpu_capability())
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def trainable(forward: CausalForward, method: str) -> dict[str, Tensor]:
    """What a method trains of the tensors that a functional forward reads: adapters alone, or all but adapters."""
    return {name: slot.tensor for name, slot in forward.slots().items() if (ADAPTER in name) == (method == "lora")}


def new_scalar_head(forward: CausalForward | None) -> Tensor:
    """Deviation 1 / sqrt(E + 1), as in Stiennon et al. 2020 (appendix B.1); fp32 whatever the trunk is."""
    if forward is None:
        raise EthosError(
            f"a reward model reads hidden states, which only models of a known shape give ({', '.join(KNOWN_TYPES)}); "
            "set mixture.reward_model to 0, or name such a student"
        )
    width = forward.embedding_VE.shape[1]
    return torch.randn(width, device=forward.device) / math.sqrt(width + 1)


def with_adapters(model: Any, config: TrainingConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.lora.rank, lora_alpha=config.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, lora, autocast_adapter_dtype=False)


def load_policy(
    directory: Path,
    config: TrainingConfig,
    system_message: str | None,
    seed: int,
    *,
    scalar_head: bool = False,
    base: Loaded | None = None,
) -> Policy:
    """The student from a Hugging Face directory, ready to train.

    `base` is the same student in the same precision, which stays as it is: adapters are trained on its weights, if it
    holds them, in the place of a copy.
    """
    shared = sharing_weights(base) if base is not None and config.method == "lora" else None
    loaded = shared or load(directory, config.precision)
    return Policy(loaded, ChatTemplate(loaded.tokenizer, system_message), config, seed, scalar_head=scalar_head)
