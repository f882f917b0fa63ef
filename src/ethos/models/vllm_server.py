"""A vLLM server that draws a policy's replies: it holds the student's weights, and is given the policy's adapter.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL --enable-lora --max-lora-rank 16

It may run in another environment and on another device; adapters pass through a folder that both can read. Prompts go
as token ids and replies come back as token ids with their log-probabilities, so that nothing is tokenised twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ethos.errors import EthosError
from ethos.models.types import SamplingParams

ADAPTER = "ethos-policy"
"""The name under which the server knows the adapter."""
_TIMEOUT_S = 600.0
_NO_PENALTIES = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_p": 0.0}
"""What is left out vLLM takes from the model's `generation_config.json`, and its log-probabilities don't show it."""


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int]
    logprobs: _Logprobs
    finish_reason: str


class _Completion(BaseModel):
    choices: list[_Choice]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A reply: its tokens, the one that ended it included, and the log-probability of each."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_cut_off: bool


class VllmServer:
    """A client of one server; close it on the event loop that used it."""

    def __init__(self, address: str) -> None:
        """`address`: the server's root, such as http://localhost:8000."""
        self.address = address.rstrip("/")
        self._session: Any = None

    async def load_adapter(self, folder: Path) -> None:
        """Has the server read the adapter that `peft` saved there, in the place of an earlier one.

        Raises:
            EthosError: if it can't be reached, or doesn't take the adapter.
        """
        body = {"lora_name": ADAPTER, "lora_path": str(folder.absolute()), "load_inplace": True}
        await self._post("/v1/load_lora_adapter", body)

    async def draw(
        self, prompt: Sequence[int], params: SamplingParams, seed: int, weights: str, end_tokens: Iterable[int]
    ) -> Drawn:
        """A reply by the adapter, up to one of the end tokens.

        `weights` names the adapter's present state: what was computed with another is not reused.

        Raises:
            EthosError: if the server can't be reached, or its answer lacks tokens or log-probabilities.
        """
        body = {
            "model": ADAPTER,
            "prompt": list(prompt),
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or -1,
            **_NO_PENALTIES,
            "seed": seed,
            "stop_token_ids": sorted(end_tokens),
            "logprobs": 0,
            "return_token_ids": True,
            "cache_salt": weights,
        }
        answer = await self._post("/v1/completions", body)
        try:
            [choice] = _Completion.model_validate_json(answer).choices
        except (ValidationError, ValueError) as error:
            raise EthosError(
                f"{self.address}: its answer has no token ids or log-probabilities; "
                "training.rollouts.server needs vLLM 0.10.2 or newer"
            ) from error
        tokens, logprobs = tuple(choice.token_ids), tuple(choice.logprobs.token_logprobs)
        if len(tokens) != len(logprobs) or not tokens:
            raise EthosError(f"{self.address}: gave {len(tokens)} tokens with {len(logprobs)} log-probabilities")
        return Drawn(tokens, logprobs, choice.finish_reason == "length")

    async def close(self) -> None:
        """Closes its connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, path: str, body: dict[str, Any]) -> str:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            async with self._session.post(self.address + path, json=body) as response:
                text: str = await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EthosError(
                f"{self.address}: can't be reached ({error or type(error).__name__}); start vLLM there with "
                "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or leave training.rollouts.server out"
            ) from error
        if response.status != 200:
            said = " ".join(text.split())[:300]
            raise EthosError(
                f"{self.address}{path}: answered {response.status} ({said}); see that it serves the student's weights "
                "with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and a --max-lora-rank that suffices"
            )
        return text
