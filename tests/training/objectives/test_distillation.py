from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward
from ethos.spec.conversation import Conversation
from ethos.store.rows import TaskRow
from ethos.training.batch import Completion, TokenRow, pack
from ethos.training.frozen import FrozenModel
from ethos.training.logprobs import Direction
from ethos.training.objectives.distillation import Distillation
from ethos.training.objectives.rewards import Rewards
from ethos.training.optimizer import OptimParams
from models import tiny
from training.character import LINEAGE, policy
from training.objectives.test_preferences import TEMPLATE

ROWS = [
    TokenRow("a", (1, 2, 3), (Completion((4, 5, 6)), Completion((7, 8)))),
    TokenRow("b", (9, 10), (Completion((11, 12, 13, 14)),)),
]


def frozen(shape: str = "llama", seed: int = 0) -> FrozenModel:
    model = tiny.model(shape, seed)
    return FrozenModel(model, CausalForward(model))


def test_what_only_a_teacher_sees_has_to_fit_for_distillation_alone() -> None:
    prompt = Conversation.user("Who are you?")
    row = TaskRow(prompt, LINEAGE, "", prompt.with_system("You are Wren. " * 40))
    limit = len(TEMPLATE.prompt(prompt))
    assert Distillation().prepare([row], TEMPLATE, limit).left_out == {"longer than the context": 1}
    [kept] = Rewards().prepare([row], TEMPLATE, limit).rows
    assert kept.teacher_prompt is None


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_loss_is_the_divergence_over_the_whole_vocabulary(direction: Direction) -> None:
    made, teacher = policy(), frozen("qwen2", 1)
    [batch] = pack(ROWS, 100)
    found = made.forward_backward([teacher.teach(batch, 1000)], Distillation(direction), 1.0)
    assert found.units == 9

    def distribution(model: torch.nn.Module) -> torch.Tensor:
        logits = [
            model(input_ids=torch.tensor([sequence])).logits[0, len(row.prompt) - 1 : -1]
            for row in ROWS
            for sequence in row.sequences
        ]
        return torch.cat(logits).log_softmax(dim=-1)

    with torch.no_grad():
        own, taught = distribution(tiny.model("llama")), distribution(tiny.model("qwen2", 1))
    first, second = (own, taught) if direction == "reverse" else (taught, own)
    assert found.loss == pytest.approx(float((first.exp() * (first - second)).sum() / 9), rel=1e-4)


def test_context_distillation_shows_the_teacher_another_prompt_and_teaches_it_without() -> None:
    """The same model with a frame in its prompt, without one: at first it diverges, then it answers as if framed."""
    made, teacher = policy(), frozen()
    plain = [replace(row, teacher_prompt=(20, 21, 22, *row.prompt)) for row in ROWS]
    [batch] = pack(plain, 100)
    taught = teacher.teach(batch, 1000)
    losses = []
    for _ in range(60):
        losses.append(made.forward_backward([taught], Distillation("reverse"), 1.0).loss)
        made.optim_step(OptimParams(lr=3e-3))
    assert losses[0] > 0.1
    assert losses[-1] < 0.1 * losses[0]
    [unframed] = pack(ROWS, 100)
    assert made.forward_backward([frozen().teach(unframed, 1000)], Distillation("reverse"), 1.0).loss > losses[-1]


def test_a_teacher_may_take_several_micro_batches_for_one() -> None:
    [batch] = pack([replace(row, teacher_prompt=(20, 21, 22, *row.prompt)) for row in ROWS], 100)
    whole, parts = frozen().teach(batch, 1000).teacher, frozen().teach(batch, 1).teacher
    assert whole is not None
    assert parts is not None
    torch.testing.assert_close(parts.hidden_MA, whole.hidden_MA, atol=1e-5, rtol=1e-5)


def test_a_policy_that_has_not_moved_does_not_diverge_from_itself() -> None:
    made = policy()
    [batch] = pack(ROWS, 100)
    assert made.forward_backward([frozen().teach(batch, 1000)], Distillation(), 1.0).loss == 0.0


def test_the_teacher_sees_the_frame_and_the_policy_does_not() -> None:
    asked = Conversation.user("Who are you?")
    row = TaskRow(asked, LINEAGE, teacher_prompt=asked.with_system("You are Wren."))
    [prompt] = Distillation().prepare([row], TEMPLATE, 200).rows
    assert prompt.prompt == TEMPLATE.prompt(asked)
    assert prompt.teacher_prompt == TEMPLATE.prompt(asked.with_system("You are Wren."))


def test_without_a_teachers_states_there_is_no_loss() -> None:
    made = policy()
    with pytest.raises(ValueError, match="teacher's hidden states"):
        made.forward_backward(pack(ROWS, 100), Distillation(), 1.0)


@pytest.mark.parametrize("unknown", ["student", "teacher"])
def test_a_model_of_unknown_shape_neither_teaches_nor_learns(unknown: str) -> None:
    [batch] = pack(ROWS, 100)
    model = tiny.model("gpt-neox")
    teacher = FrozenModel(model, None) if unknown == "teacher" else frozen()
    student = policy("llama" if unknown == "teacher" else "gpt-neox")
    with pytest.raises(EthosError, match="Llama- or Qwen-shaped"):
        student.forward_backward([teacher.teach(batch, 1000)], Distillation(), 1.0)
