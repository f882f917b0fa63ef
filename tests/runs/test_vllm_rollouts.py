from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from ethos.errors import EthosError
from ethos.models.types import SamplingParams
from ethos.models.vllm_server import ADAPTER, VllmServer
from ethos.models.worker import compute_worker
from ethos.runs.vllm_rollouts import VllmRollouts
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import pack, single
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy
from models import tiny
from training.character import DEMONSTRATIONS, batches, policy
from vllm_protocol import VllmProtocolServer, refused

ASKED = [Conversation.user(text) for text in ("Who are you?", "Is tea warm?")]
PARAMS = SamplingParams(max_tokens=12, temperature=1.0, seed=3)


@pytest.fixture
def server() -> Iterator[VllmProtocolServer]:
    with VllmProtocolServer(lambda: tiny.model("llama")) as running:
        yield running


def drawn(rollouts: VllmRollouts) -> list[list[tuple[tuple[int, ...], tuple[float, ...]]]]:
    async def draw() -> list[list[tuple[tuple[int, ...], tuple[float, ...]]]]:
        try:
            groups = await rollouts.sample_batch(ASKED, PARAMS, range(3))
        finally:
            await rollouts.close()
        return [[(s.token_ids or (), s.logprobs or ()) for s in samples] for samples in groups]

    return asyncio.run(draw())


def train(made: Policy) -> None:
    for _ in range(5):
        made.forward_backward(batches("demonstrations"), DEMONSTRATIONS, 1.0)
        made.optim_step(OptimParams(lr=3e-2))


def test_replies_come_with_the_log_probabilities_of_the_policy_as_it_is_now(
    server: VllmProtocolServer, tmp_path: Path
) -> None:
    made = policy("llama", "lora")
    rollouts = VllmRollouts(VllmServer(server.address), made, compute_worker(1), tmp_path / "adapter")
    before = drawn(rollouts)
    train(made)
    rollouts.weights_changed("main/5")
    after = drawn(rollouts)
    assert after != before
    for asked, group in zip(ASKED, after, strict=True):
        prompt = made.template.prompt(asked)
        assert len({tokens for tokens, _ in group}) == 3
        for tokens, logprobs in group:
            [batch] = pack([single("r", (*prompt, *tokens), len(prompt))], 1000)
            assert made.outputs(batch).logprobs_M.tolist() == pytest.approx(list(logprobs), abs=1e-4)
    loads = [body for path, body in server.requests if path == "/v1/load_lora_adapter"]
    assert [body["lora_name"] for body in loads] == [ADAPTER] * 2
    salts = [body["cache_salt"] for path, body in server.requests if path == "/v1/completions"]
    assert salts == [""] * 6 + ["main/5"] * 6  # nothing that older weights computed is reused


def test_the_adapter_goes_over_once_for_each_state_of_the_weights(server: VllmProtocolServer, tmp_path: Path) -> None:
    rollouts = VllmRollouts(
        VllmServer(server.address), policy("llama", "lora"), compute_worker(1), tmp_path / "adapter"
    )
    assert drawn(rollouts) == drawn(rollouts)
    assert [path for path, _ in server.requests].count("/v1/load_lora_adapter") == 1


def test_a_server_that_is_not_there_is_told_with_how_to_start_it(tmp_path: Path) -> None:
    rollouts = VllmRollouts(
        VllmServer("http://127.0.0.1:9"), policy("llama", "lora"), compute_worker(1), tmp_path / "a"
    )
    with pytest.raises(EthosError, match=r"http://127\.0\.0\.1:9: can't be reached .*start vLLM there with"):
        drawn(rollouts)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refused(404, "no such route"), r"answered 404 .*no such route.*--enable-lora"),
        (JSONResponse({"choices": [{"text": "hi", "finish_reason": "stop"}]}), "has no token ids or log-probabilities"),
    ],
)
def test_a_server_that_answers_something_else_is_told(
    server: VllmProtocolServer, tmp_path: Path, fault: JSONResponse, message: str
) -> None:
    server.fault = fault
    rollouts = VllmRollouts(
        VllmServer(server.address), policy("llama", "lora"), compute_worker(1), tmp_path / "adapter"
    )
    with pytest.raises(EthosError, match=message):
        drawn(rollouts)


def test_whole_weights_can_not_go_to_a_server() -> None:
    with pytest.raises(ValueError, match=r"rollouts\.server: .*set method to lora"):
        TrainingConfig.model_validate({"rollouts": {"server": "http://localhost:8000"}})
