"""TRL's trainers on the work that they are given, at the settings that were fastest on the first of it.

Each job trains from the same weights and tells the seconds of `trainer.train()`, without the trainer's own set-up.
"""

import tempfile
import time

import torch
from datasets import Dataset
from serve import peak, reset_peak, seconds, serve
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

COMMON = {
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "num_train_epochs": 1,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "optim": "adamw_torch_fused",
}
# weights in fp32 under autocast, or all in bf16
PRECISIONS = {"autocast": (torch.float32, {"bf16": True}), "bf16": (torch.bfloat16, {"bf16": False})}
_best = {}


def _model(directory, precision):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=PRECISIONS[precision][0])


def _tokenizer(directory):
    return AutoTokenizer.from_pretrained(directory)


def _turn(role, content):
    return [{"role": role, "content": content}]


def _train(trainer):
    return seconds(trainer.train)


def _fastest(kind, variants, run):
    """The variant that took least for a trial, tried once."""
    if kind not in _best:
        _best[kind] = min(variants, key=run)
    return _best[kind]


def demonstrations(directory, chats, rows_a_step):
    """One epoch over chats."""

    def run(chats, variant):
        precision, packing, batch = variant
        rows = [{"prompt": _turn("user", c["prompt"]), "completion": _turn("assistant", c["reply"])} for c in chats]
        args = SFTConfig(
            tempfile.mkdtemp(),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=max(1, rows_a_step // batch) if not packing else 1,
            max_length=512,
            packing=packing,
            completion_only_loss=True,
            **PRECISIONS[precision][1],
            **COMMON,
        )
        model, tokenizer = _model(directory, precision), _tokenizer(directory)
        return _train(SFTTrainer(model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer))

    variants = [(p, packing, b) for p in PRECISIONS for packing, b in ((True, 1), (False, 1), (False, 4), (False, 8))]
    variant = _fastest("demonstrations", variants, lambda v: run(chats[:32], v))
    return {"seconds": run(chats, variant), "settings": str(variant)}


def preferences(directory, pairs):
    """One epoch over pairs; the reference is asked as the settings say, and its time counts."""

    def run(pairs, variant):
        precision, precompute, batch = variant
        rows = [
            {
                "prompt": _turn("user", p["prompt"]),
                "chosen": _turn("assistant", p["chosen"]),
                "rejected": _turn("assistant", p["rejected"]),
            }
            for p in pairs
        ]
        args = DPOConfig(
            tempfile.mkdtemp(),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=max(1, 8 // batch),
            max_length=1024,
            precompute_ref_log_probs=precompute,
            **PRECISIONS[precision][1],
            **COMMON,
        )
        made = {}

        def build():
            made["trainer"] = DPOTrainer(
                _model(directory, precision),
                ref_model=_model(directory, precision),
                args=args,
                train_dataset=Dataset.from_list(rows),
                processing_class=_tokenizer(directory),
            )

        # a reference that is asked beforehand is asked while the trainer is built
        building = seconds(build)
        return _train(made["trainer"]) + (building if precompute else 0.0)

    variants = [(p, precompute, b) for p in PRECISIONS for precompute in (False, True) for b in (1, 4)]
    variant = _fastest("preferences", variants, lambda v: run(pairs[:4], v))
    return {"seconds": run(pairs, variant), "settings": str(variant)}


def rewards(directory, prompts, draws, max_tokens):
    """One step: rollouts, a free reward, and the update."""

    def run(prompts, variant):
        precision, batch = variant
        noise = torch.Generator().manual_seed(0)
        every = len(prompts) * draws
        args = GRPOConfig(
            tempfile.mkdtemp(),
            per_device_train_batch_size=min(batch, every),
            gradient_accumulation_steps=max(1, every // batch),
            num_generations=draws,
            max_completion_length=max_tokens,
            generation_kwargs={"min_new_tokens": max_tokens},
            max_steps=1,
            beta=0.0,
            **PRECISIONS[precision][1],
            **COMMON,
        )
        trainer = GRPOTrainer(
            _model(directory, precision),
            reward_funcs=lambda completions, **_: torch.rand(len(completions), generator=noise).tolist(),
            args=args,
            train_dataset=Dataset.from_list([{"prompt": _turn("user", p)} for p in prompts]),
            processing_class=_tokenizer(directory),
        )
        return _train(trainer)

    variants = [(p, b) for p in PRECISIONS for b in (8, 16)]  # all 64 at once take more than 20 GiB
    variant = _fastest("rewards", variants, lambda v: run(prompts, v))
    return {"seconds": run(prompts, variant), "settings": str(variant)}


class _Watch(TrainerCallback):
    """Peak memory of each step after the first, over what the process held before it."""

    def __init__(self):
        self.peaks, self.seconds = [], []

    def on_step_begin(self, args, state, control, **_):
        self.before, self.began = reset_peak(), time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        if state.global_step > 1:  # the first makes the optimizer's moments
            self.peaks.append(peak() - self.before)
            self.seconds.append(time.perf_counter() - self.began)


def memory(directory, tokens, rows):
    """Peak memory and seconds of a step on one row of so many tokens, with gradient checkpointing."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    words = Dataset.from_list([{"input_ids": [5 + (i * 7919 + r) % 20000 for i in range(tokens)]} for r in range(rows)])
    settings = {**COMMON, "gradient_checkpointing": True}
    args = SFTConfig(tempfile.mkdtemp(), per_device_train_batch_size=1, max_length=tokens, bf16=True, **settings)
    watch = _Watch()
    trainer = SFTTrainer(model, args, train_dataset=words, processing_class=_tokenizer(directory), callbacks=[watch])
    trainer.train()
    return {"seconds": min(watch.seconds), "peak_bytes": max(watch.peaks)}


if __name__ == "__main__":
    serve({"demonstrations": demonstrations, "preferences": preferences, "rewards": rewards, "memory": memory})
