"""TRL's trainers as the oracle: the same weights, tokens and masks give the same losses and the same gradients."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from ethos.models.architecture import CausalForward
from ethos.models.templates import ChatTemplate
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import PreferenceRow
from ethos.training.batch import Completion, TokenRow, pack
from ethos.training.frozen import FrozenModel, with_signal
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.preferences import REFERENCE, Preferences
from ethos.training.objectives.reward_model import RewardModel
from ethos.training.objectives.rewards import ADVANTAGE, SAMPLING, Rewards
from ethos.training.objectives.rewards import REFERENCE as REFERENCES
from ethos.training.objectives.types import Objective
from ethos.training.policy import Policy, load_policy
from models import tiny
from training.character import PREFERENCES, ROWS, policy

LOSS, CANCELLED = 1e-5, 2e-6  # relative; and absolute, where terms of about 1 and of both signs add up in fp32
COMMON: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none"}


@dataclass(frozen=True)
class Subject:
    """A model that both sides train from the same weights, in fp32."""

    policy: Callable[[bool], Policy]  # with a scalar head or without
    model: Callable[[bool], Any]  # as Hugging Face loads it; moved away from those weights or not
    tokenizer: Any
    norm: float  # how far the norms of a tensor's gradients may be apart, relative
    norm_of_norms: float  # and where the tensor is the weight of a norm
    gradient: float  # how far gradients themselves may be apart, relative to their norm

    def rows(self, objective: str) -> list[TokenRow]:
        """Of the test character, in this model's tokens."""
        return OBJECTIVES[objective].prepare([*ROWS, *PREFERENCES], ChatTemplate(self.tokenizer, None), 500).rows

    def compare(self, made: Policy, rows: Sequence[TokenRow], objective: Objective, theirs: Tensor, model: Any) -> None:
        """Their loss and, after its backward pass, their gradients are ours; ours in micro-batches of a row each."""
        theirs.backward()
        ours = made.forward_backward(pack(rows, 1), objective, 1.0)
        assert ours.loss == pytest.approx(float(theirs.detach()), rel=LOSS, abs=CANCELLED)
        found, expected = made.optimizer.gradients, gradients(model)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            limit = self.norm_of_norms if "norm" in name else self.norm
            assert float(found[name].norm()) == pytest.approx(float(gradient.norm()), rel=limit), name
            assert float((found[name] - gradient).norm() / gradient.norm()) < self.gradient, name


def tiny_subject(shape: str) -> Subject:
    def model(moved: bool) -> Any:
        return tiny.model(shape, seed=int(moved)).requires_grad_(True)

    return Subject(lambda head: policy(shape, scalar_head=head), model, tiny.tokenizer(), 1e-5, 1e-5, 1e-5)


def real_subject(directory: Path) -> Subject:
    def made(head: bool) -> Policy:
        return load_policy(directory, TrainingConfig(precision="fp32"), None, 0, scalar_head=head)

    def model(moved: bool) -> Any:
        found = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        # its padding token ends each turn, and Hugging Face's embedding drops that token's gradient: ours doesn't
        found.model.embed_tokens.padding_idx = None
        if moved:
            with torch.no_grad():
                found.model.norm.weight.mul_(0.95)
        return found

    # the weight of a norm has a gradient of terms that cancel: in fp32 each side's is up to 1.4e-4 from that in fp64
    return Subject(made, model, AutoTokenizer.from_pretrained(directory), 1e-4, 5e-4, 1e-3)


@pytest.fixture(autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """Trainers are cycles of references, and a few of the real model fill a machine."""
    yield
    gc.collect()


@pytest.fixture(params=["llama", "qwen2", pytest.param("smollm2", marks=[pytest.mark.slow, pytest.mark.model])])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "smollm2":
        return real_subject(request.getfixturevalue("smollm2"))
    return tiny_subject(request.param)


def gradients(model: Any) -> dict[str, Tensor]:
    """The gradients of a Hugging Face model under the names that a policy gives its tensors."""
    trunk = model.model
    parts: dict[str, list[Tensor | None]] = {
        "embedding": [trunk.embed_tokens.weight.grad],
        "final_norm": [trunk.norm.weight.grad],
    }
    if hasattr(model, "lm_head") and not model.config.tie_word_embeddings:
        parts["head"] = [model.lm_head.weight.grad]
    if hasattr(model, "score"):
        parts["scalar_head"] = [model.score.weight.grad[0]]
    for i, layer in enumerate(trunk.layers):
        attention, feed_forward = layer.self_attn, layer.mlp
        qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
        parts[f"layers.{i}.qkv"] = [module.weight.grad for module in qkv]
        if attention.q_proj.bias is not None:
            parts[f"layers.{i}.qkv.bias"] = [module.bias.grad for module in qkv]
        parts[f"layers.{i}.out"] = [attention.o_proj.weight.grad]
        parts[f"layers.{i}.gate_up"] = [feed_forward.gate_proj.weight.grad, feed_forward.up_proj.weight.grad]
        parts[f"layers.{i}.down"] = [feed_forward.down_proj.weight.grad]
        parts[f"layers.{i}.norm_before_attention"] = [layer.input_layernorm.weight.grad]
        parts[f"layers.{i}.norm_before_feed_forward"] = [layer.post_attention_layernorm.weight.grad]
    return {name: torch.cat([g for g in found if g is not None]) for name, found in parts.items()}


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Tokens and their mask, shape [B, T] each."""
    tensors = [torch.tensor(list(row)) for row in rows]
    side = "left" if left else "right"
    masks = [torch.ones(len(row), dtype=torch.long) for row in rows]
    return tuple(pad_sequence(x, batch_first=True, padding_side=side) for x in (tensors, masks))  # type: ignore[return-value]


def test_demonstrations_are_sft(subject: Subject, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = subject.rows("demonstrations")
    labels = [[-100] * len(row.prompt) + list(row.completions[0].tokens) for row in rows]
    dataset = Dataset.from_dict({"input_ids": [list(row.sequences[0]) for row in rows], "labels": labels})
    options = SFTConfig(
        str(tmp_path),
        per_device_train_batch_size=len(rows),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        **COMMON,
    )
    trainer = SFTTrainer(subject.model(False), options, train_dataset=dataset, processing_class=subject.tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    assert int((batch["labels"] != -100).sum()) == sum(row.targets for row in rows)
    theirs = trainer.compute_loss(trainer.model, batch)
    subject.compare(subject.policy(False), rows, OBJECTIVES["demonstrations"], theirs, trainer.model)


def pair_tensors(rows: Sequence[TokenRow]) -> dict[str, Tensor]:
    """As TRL's collators lay pairs out: all chosen replies, then all rejected ones."""
    ordered = [(row, place) for place in (0, 1) for row in rows]
    tokens, mask = padded([row.sequences[place] for row, place in ordered])
    completions = torch.zeros_like(mask)
    for line, (row, place) in enumerate(ordered):
        completions[line, len(row.prompt) : len(row.sequences[place])] = 1
    return {"input_ids": tokens, "attention_mask": mask, "completion_mask": completions}


def pair_dataset() -> Any:
    from datasets import Dataset

    pairs = [row for row in PREFERENCES if isinstance(row, PreferenceRow)]
    columns = {"prompt": [p.prompt.last_user for p in pairs], "chosen": [p.chosen for p in pairs]}
    return Dataset.from_dict({**columns, "rejected": [p.rejected for p in pairs]})


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (Preferences(beta=0.3), {"beta": 0.3, "loss_type": ["sigmoid"]}),
        (Preferences("ipo", beta=0.3), {"beta": 0.3, "loss_type": ["ipo"]}),
        (
            Preferences(beta=0.3, nll_coefficient=0.7),
            {"beta": 0.3, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
        ),
    ],
    ids=["sigmoid", "ipo", "sigmoid+nll"],
)
def test_preferences_are_dpo(subject: Subject, objective: Preferences, options: dict[str, Any], tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        subject.model(False),
        ref_model=subject.model(True),
        args=DPOConfig(str(tmp_path), **options, **COMMON),
        train_dataset=pair_dataset(),
        processing_class=subject.tokenizer,
    )
    rows = subject.rows("preferences")[: 1 if objective.nll_coefficient else None]  # theirs is a mean over all tokens
    theirs = trainer._compute_loss(trainer.model, pair_tensors(rows), False)
    reference = subject.model(True)
    found = FrozenModel(reference, CausalForward(reference)).logprobs(rows, 1000)
    rows = [with_signal(row, REFERENCE, [sum(c) for c in cs]) for row, cs in zip(rows, found, strict=True)]
    subject.compare(subject.policy(False), rows, objective, theirs, trainer.model)


@pytest.mark.parametrize("margin", [False, True])
def test_a_reward_model_is_trls(subject: Subject, margin: bool, tmp_path: Path) -> None:
    from trl import RewardConfig, RewardTrainer

    made = subject.policy(True)
    made.export_reward_model(tmp_path / "start")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start", dtype=torch.float32)
    trainer = RewardTrainer(
        model,
        RewardConfig(str(tmp_path), disable_dropout=True, **COMMON),
        train_dataset=pair_dataset(),
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "start"),  # whose padding token ends no turn
    )
    margins = [0.5 * margin * (1 + place) for place in range(len(subject.rows("preferences")))]
    rows = [
        replace(row, signals={**row.signals, "margin": value})
        for row, value in zip(subject.rows("preferences"), margins, strict=True)
    ]
    inputs = {name: tensor for name, tensor in pair_tensors(rows).items() if name != "completion_mask"}
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, model.config.pad_token_id)
    if margin:
        inputs["margin"] = torch.tensor(margins)
    subject.compare(made, rows, RewardModel(), trainer.compute_loss(trainer.model, inputs), trainer.model)


def rollouts(made: Policy) -> list[TokenRow]:
    """Three groups of four replies of different lengths, as if drawn by a policy that has since moved on."""
    generator = torch.Generator().manual_seed(0)

    def tokens(size: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 256, (size,), generator=generator).tolist())

    rows = [TokenRow(str(n), tokens(3 + n), tuple(Completion(tokens(2 + 2 * k)) for k in range(4))) for n in range(3)]
    signalled = []
    for row, found in zip(rows, FrozenModel(made.model, made.forward).logprobs(rows, 1000), strict=True):
        for name, scale in ((SAMPLING, 0.3), (REFERENCES, 0.5)):
            moved = [
                tuple((torch.tensor(c) + scale * torch.randn(len(c), generator=generator)).tolist()) for c in found
            ]
            row = with_signal(row, name, moved)
        signalled.append(with_signal(row, ADVANTAGE, torch.randn(4, generator=generator).tolist()))
    return signalled


def on_policy(made: Policy, rows: Sequence[TokenRow]) -> list[TokenRow]:
    """The same replies, as if drawn by the policy as it is."""
    now = FrozenModel(made.model, made.forward).logprobs(rows, 1000)
    return [with_signal(row, SAMPLING, logprobs) for row, logprobs in zip(rows, now, strict=True)]


def rollout_tensors(rows: Sequence[TokenRow]) -> dict[str, Tensor]:
    """As TRL's trainers lay rollouts out."""
    each = [(row, completion) for row in rows for completion in row.completions]
    prompts, prompt_mask = padded([row.prompt for row, _ in each], left=True)
    replies, reply_mask = padded([completion.tokens for _, completion in each])
    signals = {
        name: pad_sequence([torch.tensor(c.signals[name]) for _, c in each], batch_first=True)
        for name in (SAMPLING, REFERENCES)
    }
    return {
        "prompt_ids": prompts,
        "prompt_mask": prompt_mask,
        "completion_ids": replies,
        "completion_mask": reply_mask,
        "advantages": torch.tensor([c.signals[ADVANTAGE] for _, c in each]),
        "old_per_token_logps": signals[SAMPLING],
        "ref_per_token_logps": signals[REFERENCES],
        "old_logps": signals[SAMPLING].sum(dim=1),
        "num_items_in_batch": reply_mask.sum(),
    }


@pytest.mark.parametrize(
    ("objective", "trainer_name", "options"),
    [
        (Rewards(normalise="token", clip_high=0.3, kl_coefficient=0.1), "GRPO", {"loss_type": "dapo", "beta": 0.1}),
        (Rewards(normalise="sequence", clip_high=0.3, kl_coefficient=0.1), "GRPO", {"loss_type": "grpo", "beta": 0.1}),
        (
            Rewards(normalise="sequence", clip_high=0.3, kl_coefficient=0.1, kl_estimator="k3"),
            "GRPO",
            {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": False},
        ),
        (Rewards("rloo", clip_high=0.3), "RLOO", {}),
        (Rewards(kl_coefficient=0.1, ratio_to="trainer"), "GRPO", {"loss_type": "dapo", "beta": 0.1}),
        (Rewards("rloo", ratio_to="trainer"), "RLOO", {}),
    ],
    ids=["dapo", "grpo", "grpo-k3", "rloo", "dapo-on-policy", "rloo-on-policy"],
)
def test_rewards_are_grpo_and_rloo(
    subject: Subject, objective: Rewards, trainer_name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    import trl
    from datasets import Dataset

    config, trainer_type = getattr(trl, f"{trainer_name}Config"), getattr(trl, f"{trainer_name}Trainer")
    made, model = subject.policy(False), subject.model(False)
    rows = rollouts(made)
    is_on_policy = objective.ratio_to == "trainer"
    model.save_pretrained(tmp_path / "model")
    model.config._name_or_path = str(tmp_path / "model")  # from where it loads its reference
    trainer = trainer_type(
        model,
        reward_funcs=lambda **_: [0.0],
        args=config(
            str(tmp_path),
            per_device_train_batch_size=12,
            num_generations=4,
            epsilon=0.2,
            epsilon_high=0.3,
            **options,
            **COMMON,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["a", "b", "c"]}),
        processing_class=subject.tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    theirs = trainer._compute_loss(trainer.model, rollout_tensors(on_policy(made, rows) if is_on_policy else rows))
    subject.compare(made, rows, objective, theirs, trainer.model)
    watched = made.forward_backward(pack(rows, 1000), objective, 1.0).metrics
    assert watched["clipped"] == 0 if is_on_policy else 0 < watched["clipped"] < 1
    assert objective.estimator == "rloo" or watched["kl"] > 0
