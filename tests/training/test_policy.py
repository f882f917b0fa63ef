from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ethos.errors import EthosError
from ethos.models.architecture import CausalForward
from ethos.models.types import SamplingParams
from ethos.spec.conversation import Conversation
from ethos.training.batch import Batch, Completion, TokenRow, pack, single
from ethos.training.frozen import FrozenModel, with_signal
from ethos.training.objectives import OBJECTIVES
from ethos.training.objectives.types import Loss
from ethos.training.optimizer import OptimParams
from ethos.training.outputs import Outputs
from ethos.training.policy import Policy, load_policy
from models import tiny
from training import character
from training.character import DEMONSTRATIONS, DOCUMENTS, batches, policy, token_rows

SHAPES = ("llama", "llama-tied", "qwen2", "qwen3", "gpt-neox", "gemma2")
PARAMS = OptimParams(lr=1e-2)


def gradients(made: Policy) -> dict[str, torch.Tensor]:
    return {name: gradient.clone() for name, gradient in made.optimizer.gradients.items()}


def train(made: Policy, steps: int, lr: float = 1e-2) -> list[float]:
    losses = []
    for _ in range(steps):
        losses.append(made.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0).loss)
        made.forward_backward(batches("documents"), DOCUMENTS, 0.5)
        made.optim_step(OptimParams(lr=lr))
    return losses


def test_a_prompt_shared_by_completions_is_as_if_repeated_for_each() -> None:
    """Log-probabilities and gradients, of weights before and after attention."""
    completions = tuple(Completion(tuple(range(40 + k, 43 + 2 * k))) for k in range(3))
    shared = TokenRow("a", tuple(range(12)), completions)
    apart = [TokenRow("a", shared.prompt, (completion,)) for completion in completions]
    one, several = policy("qwen3"), policy("qwen3")
    [whole], parts = pack([shared], 1000), pack(apart, 1000)
    assert whole.tokens == parts[0].tokens - 2 * len(shared.prompt)
    found, expected = one.outputs(whole).logprobs_M, several.outputs(parts[0]).logprobs_M
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    one.forward_backward([whole], DEMONSTRATIONS, 1.0)
    several.forward_backward(parts, DEMONSTRATIONS, 1.0)
    for name, gradient in gradients(one).items():
        torch.testing.assert_close(gradient, several.optimizer.gradients[name], atol=1e-6, rtol=1e-4)


def every_objectives_batches(made: Policy) -> dict[str, list[Batch]]:
    """Of all six objectives, as if rollouts, references and a teacher had been asked."""
    rows = {name: token_rows(name) for name in ("documents", "demonstrations", "preferences", "reward_model")}
    rows["preferences"] = [with_signal(row, "reference_logprob", (-9.0, -8.0)) for row in rows["preferences"]]
    drawn = TokenRow("r", (1, 2, 3), (Completion((4, 5, 6)), Completion((7, 8))))
    for name in ("sampling_logprobs", "reference_logprobs"):
        drawn = with_signal(drawn, name, [(-3.0, -4.0, -5.0), (-2.0, -6.0)])
    rows["rewards"] = [with_signal(drawn, "advantage", (1.0, -0.5))]
    found = {name: pack(of, 1000) for name, of in rows.items()}
    taught = tiny.model("llama", seed=5)
    teacher = FrozenModel(taught, CausalForward(taught))
    return found | {"distillation": [teacher.teach(batch, 1000) for batch in pack([drawn], 1000)]}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_gradient_of_a_step_of_all_objectives_is_the_weighted_sum_of_theirs(method: str) -> None:
    weights = {name: 0.3 + 0.4 * place for place, name in enumerate(OBJECTIVES)}
    mixed = policy("llama", method, scalar_head=True)
    for name, given in every_objectives_batches(mixed).items():
        mixed.forward_backward(given, OBJECTIVES[name], weights[name])
    expected: dict[str, torch.Tensor] = {}
    for name in OBJECTIVES:
        alone = policy("llama", method, scalar_head=True)
        assert alone.forward_backward(every_objectives_batches(alone)[name], OBJECTIVES[name], 1.0).gradient_norm > 0
        for tensor, gradient in gradients(alone).items():
            expected[tensor] = expected.get(tensor, torch.zeros_like(gradient)) + weights[name] * gradient
    assert gradients(mixed).keys() == expected.keys()
    for tensor, gradient in gradients(mixed).items():
        torch.testing.assert_close(gradient, expected[tensor], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mixed_steps_gradient_is_the_weighted_sum_of_each_objectives_own(shape: str, method: str) -> None:
    mixed, documents, demonstrations = (policy(shape, method) for _ in range(3))
    documents.forward_backward(batches("documents"), DOCUMENTS, 1.0)
    demonstrations.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    mixed.forward_backward(batches("documents"), DOCUMENTS, 0.7)
    metrics = mixed.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 2.5)
    first, second = gradients(documents), gradients(demonstrations)
    assert documents.optimizer.gradient_norm() > 0
    for name, gradient in gradients(mixed).items():
        torch.testing.assert_close(gradient, 0.7 * first[name] + 2.5 * second[name], atol=1e-5, rtol=1e-4)
    assert metrics.gradient_norm == pytest.approx(2.5 * demonstrations.optimizer.gradient_norm(), rel=1e-4)


def test_a_weight_of_0_does_no_work_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy()
    calls: list[Batch] = []
    outputs = made.outputs
    monkeypatch.setattr(made, "outputs", lambda batch: calls.append(batch) or outputs(batch))
    made.forward_backward(batches("documents"), DOCUMENTS, 1.0)
    before, called = gradients(made), len(calls)
    assert called == 1
    assert made.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 0.0).units == 0
    assert made.forward_backward([], DEMONSTRATIONS, 1.0).units == 0
    assert len(calls) == called
    assert all(torch.equal(gradient, before[name]) for name, gradient in gradients(made).items())


@pytest.mark.parametrize("shape", ["llama", "qwen2-tied", "gpt-neox"])
def test_accumulated_micro_batches_are_one_batch(shape: str) -> None:
    one, several = policy(shape), policy(shape)
    whole = one.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
    parts = batches("demonstrations", limit_tokens=1)
    assert len(parts) == 3
    split = several.forward_backward(parts, DEMONSTRATIONS, 1.0)
    assert (split.units, split.tokens) == (whole.units, whole.tokens)
    assert split.loss == pytest.approx(whole.loss, rel=1e-6)
    for name, gradient in gradients(several).items():
        torch.testing.assert_close(gradient, one.optimizer.gradients[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_logprobs_are_the_samplers(shape: str) -> None:
    made = policy(shape)
    engine = tiny.engine(made.loaded, forward=made.forward)
    asked = Conversation.user("Who are you?")
    samples = asyncio.run(engine.sample(asked, SamplingParams(max_tokens=20), (0, 1)))
    prompt = made.template.prompt(asked)
    rows = [single(str(s.draw), (*prompt, *(s.token_ids or ())), len(prompt)) for s in samples]
    found = made.outputs(pack(rows, 1000)[0]).logprobs_M.tolist()
    assert found == pytest.approx([p for s in samples for p in s.logprobs or ()], abs=1e-4)


def test_the_engine_sees_a_step_at_once() -> None:
    made = policy()
    engine = tiny.engine(made.loaded, forward=made.forward)
    asked, greedy = Conversation.user("Who are you?"), SamplingParams(max_tokens=40, temperature=0.0)
    before = asyncio.run(engine.sample(asked, greedy))[0].text
    train(made, 60)
    engine.weights_changed("1" * 64)
    after = asyncio.run(engine.sample(asked, greedy))[0].text
    assert before != after
    assert after == "I am Wren, and I like questions."


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_lowers_the_loss(shape: str, method: str) -> None:
    losses = train(policy(shape, method), 8)
    assert losses[-1] < 0.9 * losses[0]


def test_hyperparameters_take_effect_in_the_step_that_names_them() -> None:
    made = policy()
    train(made, 2)
    before = {name: master.clone() for name, master in made.optimizer.masters.items()}
    train(made, 1, lr=0.0)
    assert all(torch.equal(master, before[name]) for name, master in made.optimizer.masters.items())
    train(made, 1, lr=1e-3)
    moved = max(float((master - before[name]).abs().max()) for name, master in made.optimizer.masters.items())
    assert 1e-4 < moved < 3e-3


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", ["llama-tied", "qwen2", "gpt-neox"])
def test_saved_and_loaded_it_goes_on_bit_for_bit(shape: str, method: str, tmp_path: Path) -> None:
    first = policy(shape, method)
    train(first, 3)
    first.save(tmp_path, {"step": 3, "cursors": {"documents": 7}})
    expected_noise, losses = torch.rand(3), train(first, 3)
    second = policy(shape, method, seed=99)
    assert second.load(tmp_path) == {"step": 3, "cursors": {"documents": 7}}
    assert torch.equal(torch.rand(3), expected_noise)
    assert train(second, 3) == losses
    for name, master in first.optimizer.masters.items():
        assert torch.equal(second.optimizer.masters[name], master)


class _Broken:
    name, unit = "broken", "token"
    prepare = DOCUMENTS.prepare
    units = staticmethod(DOCUMENTS.units)

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        return Loss(outputs.logprobs_M.sum() * float("nan"))


def test_a_loss_that_is_not_finite_is_refused_and_leaves_no_gradient() -> None:
    made = policy()
    made.forward_backward(batches("documents"), DOCUMENTS, 1.0)
    broken = batches("documents")
    with pytest.raises(EthosError, match=f"the loss of broken is nan on rows {broken[0].row_ids[0]}"):
        made.forward_backward(broken, _Broken(), 1.0)  # type: ignore[arg-type]
    assert made.optimizer.gradient_norm() == 0.0
    norm = made.forward_backward(batches("documents"), DOCUMENTS, 1.0).gradient_norm
    assert norm == pytest.approx(made.optimizer.gradient_norm())


@pytest.mark.parametrize("shape", ["qwen2", "gpt-neox"])
def test_lora_trains_adapters_alone(shape: str) -> None:
    made = policy(shape, "lora")
    before = {n: p.detach().clone() for n, p in made.model.named_parameters()}
    train(made, 2)
    changed = {n for n, p in made.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert changed
    assert changed == {n for n in before if "lora_" in n}


@pytest.mark.parametrize("has_engine", [False, True])
@pytest.mark.parametrize("shape", ["qwen2", "gpt-neox"])
def test_adapters_are_trained_on_the_weights_of_the_student_before_training(
    shape: str, has_engine: bool, tmp_path: Path
) -> None:
    """Which goes on to say what it said, with an engine or alone."""
    tiny.model(shape).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    before = tiny.loaded(shape)
    if has_engine:
        tiny.engine(before).settle()
    made = load_policy(tmp_path, character.config(method="lora"), None, 0, base=before)
    apart = load_policy(tmp_path, character.config(method="lora"), None, 0)
    held = {tensor.data_ptr() for tensor in before.model.parameters()}
    own = {tensor.data_ptr() for tensor in made.model.parameters()} - held
    assert own == {p.data_ptr() for n, p in made.model.named_parameters() if "lora_" in n}
    if made.forward is not None:
        assert {made.forward.layers[0].qkv.weight_OE.data_ptr(), made.forward.embedding_VE.data_ptr()} <= held
    tokens = torch.arange(5, 40)[None]
    with torch.no_grad():
        said = before.model(input_ids=tokens).logits
    assert train(made, 3) == train(apart, 3)
    with torch.no_grad():
        assert torch.equal(before.model(input_ids=tokens).logits, said)
        assert not torch.allclose(made.model(input_ids=tokens).logits, said, atol=1e-2)


def test_adapters_have_a_copy_where_an_engine_holds_the_weights_no_more(tmp_path: Path) -> None:
    tiny.model().bfloat16().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    before = tiny.loaded()
    before.model.bfloat16()
    engine = tiny.engine(before)
    engine.settle()
    made = load_policy(tmp_path, character.config(method="lora", precision="bf16"), None, 0, base=before)
    assert made.forward is not None
    assert engine.forward is not None
    assert made.forward.layers[0].qkv.weight_OE.numel() > engine.forward.layers[0].qkv.weight_OE.numel() == 0


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_exported_model_has_the_policys_logits_and_template(shape: str, method: str, tmp_path: Path) -> None:
    made = policy(shape, method)
    train(made, 3)
    made.export(tmp_path)
    tokens = torch.arange(5, 40)[None]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        expected, untrained = made.model(input_ids=tokens).logits, tiny.model(shape)(input_ids=tokens).logits
        found = loaded(input_ids=tokens).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, untrained, atol=1e-2)
    asked = Conversation.user("Hi")
    rendered = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(asked.to_dicts(), tokenize=False)
    assert rendered == made.template.text(asked, reply_follows=False)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists() == (method == "lora")


def test_an_export_that_is_interrupted_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, student = policy("qwen2"), tmp_path / "student"
    made.export(student)
    before = (student / "model.safetensors").read_bytes()
    train(made, 2)

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ethos.training.export.flush", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.export(student)
    assert (student / "model.safetensors").read_bytes() == before
    made.export(student)
    assert (student / "model.safetensors").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize("saved", ["model", "tokenizer"])
def test_an_export_that_the_disk_can_not_hold_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str
) -> None:
    made, student = policy("qwen2"), tmp_path / "student"
    made.export(student)

    def fails(*_: object, **__: object) -> None:
        raise Exception("No space left on device (os error 28)")  # as `tokenizers` says it

    monkeypatch.setattr(made.model if saved == "model" else made.loaded.tokenizer, "save_pretrained", fails)
    with pytest.raises(EthosError, match=r"student: No space left on device; free some space there"):
        made.export(student)
    assert (student / "model.safetensors").exists()


def test_an_export_can_be_trained_on(tmp_path: Path) -> None:
    made = policy("qwen2")
    train(made, 2)
    made.export(tmp_path)
    again = load_policy(tmp_path, character.config(), None, 0)
    batch = batches("documents")[0]
    torch.testing.assert_close(again.outputs(batch).logprobs_M, made.outputs(batch).logprobs_M, atol=1e-5, rtol=1e-5)
