"""What training will compute, from the config and the rows of the user's own: which objective gets how many slots, and
how many tokens go forward, through the student that is trained, its reference and a teacher. A plan loads no torch, so
objectives are known by their names here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ethos.store.config.run import RunConfig
from ethos.store.rows import PreferenceRow, Row, TaskRow
from ethos.synthesis.expected import Calls, prompt_tokens, text_tokens
from ethos.training.mixture import share_slots
from ethos.training.schedule import plan_step

ROW_PROMPT_TOKENS = 80  # of a row that the teacher wrote, before the reply
_TYPICAL_REPLY = 3 / 4  # of the longest that the policy may draw


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """Tokens that go forward, and what the policy draws."""

    slots: dict[str, int]  # over all steps, by objective
    trained_tokens: int
    reference_tokens: int
    teacher_tokens: int
    rollouts: tuple[Calls, ...]


def training_work(config: RunConfig, own_rows: Sequence[Row], written_pairs: int) -> TrainingWork:
    """As the mixture will share slots out, if the recipes yield rows, and as many pairs."""
    pairs = [row for row in own_rows if isinstance(row, PreferenceRow)]
    tasks = [row for row in own_rows if isinstance(row, TaskRow)]
    slots = _slots(config, has_pairs=bool(pairs) or written_pairs > 0, has_tasks=bool(tasks))
    single = ROW_PROMPT_TOKENS + config.synthesis.demonstrations.max_tokens
    sizes_of_pairs = [prompt_tokens(p.prompt) + text_tokens(p.chosen) + text_tokens(p.rejected) for p in pairs]
    sizes_of_pairs += written_pairs * [ROW_PROMPT_TOKENS + 2 * config.synthesis.preferences.max_tokens]
    pair = _mean(sizes_of_pairs)
    asked = _mean([prompt_tokens(task.prompt) for task in tasks])
    trained = float(single * (slots["documents"] + slots["demonstrations"]))
    trained += pair * (slots["preferences"] + slots["reward_model"])
    reference = pair * min(slots["preferences"], len(pairs) + written_pairs)
    teacher = 0.0
    rollouts = []
    for name, sizes in config.training.rollout_sizes.items():
        reply = sizes.max_tokens * _TYPICAL_REPLY
        tokens = slots[name] * (asked + sizes.draws * reply)
        trained += tokens
        reference += tokens * (name == "rewards" and config.knobs.rewards.kl_coefficient > 0)
        teacher += tokens * (name == "distillation")
        drawn = slots[name] * sizes.draws
        rollouts.append(Calls(drawn, drawn, asked, reply, sizes.max_tokens, asked / sizes.draws + reply))
    return TrainingWork(dict(slots), round(trained), round(reference), round(teacher), tuple(rollouts))


def _slots(config: RunConfig, *, has_pairs: bool, has_tasks: bool) -> Counter[str]:
    without = set() if has_pairs else {"preferences", "reward_model"}
    without |= set() if has_tasks else {"rewards", "distillation"}
    slots: Counter[str] = Counter()
    for step in range(1, config.training.steps + 1):
        weights = plan_step(config.training, config.knobs, step - 1).weights
        weights = {name: weight for name, weight in weights.items() if name not in without}
        slots.update(share_slots(weights, config.knobs.batch_rows, config.seed, step))
    return slots


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
