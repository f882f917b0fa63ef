"""Rollouts by a real vLLM server, held against the policy that they are drawn for: prints JSON.

    python bench/vllm_rollouts.py

vLLM's build for CPUs serves SmolLM2-135M in an environment of its own, and is given a LoRA adapter before and after it
is trained. How far its log-probabilities are from the trainer's, in the mean over tokens, is told beside that of the
engine of this process, both in bf16; a server that drew with the adapter of before would show in the second figure.
"""

# ruff: noqa: E402, since the process is set up before torch is imported

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ethos.process import tune_process

tune_process()

from race import environment, machine
from work import Words

from ethos.models.catalogue import resolve
from ethos.models.engine import Engine
from ethos.models.local import local_directory
from ethos.models.types import Sample, SamplingParams
from ethos.models.vllm_server import VllmServer
from ethos.models.worker import Worker, compute_worker
from ethos.runs.vllm_rollouts import VllmRollouts
from ethos.spec.conversation import Conversation
from ethos.store.config.training import TrainingConfig
from ethos.training.batch import pack, single
from ethos.training.objectives import OBJECTIVES
from ethos.training.optimizer import OptimParams
from ethos.training.policy import Policy, load_policy

MODEL = "embedded:smollm2-135m"
PROMPTS, DRAWS, NEW_TOKENS, STEPS = 8, 8, 64, 20
START_S = 600.0
SAID = "I keep the lighthouse, and I count the ships."


class Draws(Protocol):
    """An engine, or a server."""

    def weights_changed(self, fingerprint: str) -> None:
        """What was computed with earlier weights is not used again."""
        ...

    async def sample_batch(
        self, prompts: Sequence[Conversation], params: SamplingParams, draws: Sequence[int] = ...
    ) -> list[list[Sample]]:
        """A list of samples for each prompt."""
        ...


async def measure(address: str, directory: Path) -> dict[str, Any]:
    """Both sides before and after some steps."""
    worker = compute_worker()
    policy = await worker.run(load_policy, directory, TrainingConfig(method="lora", precision="bf16"), None, 0)
    words = Words(policy.template.tokenizer, 0)
    asked = [Conversation.user(text) for text in words.prompts(PROMPTS, [64])]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = VllmRollouts(VllmServer(address), policy, worker, Path(folder) / "adapter")
        engine = Engine(MODEL, "bench", policy.loaded, policy.template, worker, forward=policy.forward)
        for moment in ("before", "after"):
            if moment == "after":
                await worker.run(_train, policy)
            sides: dict[str, Draws] = {"vllm": server, "engine": engine}
            for name, side in sides.items():
                side.weights_changed(moment)
                found[f"{name} {moment}"] = await _drawn(side, asked, policy, worker)
        await server.close()
    return found


async def _drawn(side: Draws, asked: Sequence[Conversation], policy: Policy, worker: Worker) -> dict[str, Any]:
    params = SamplingParams(NEW_TOKENS, temperature=1.0)
    began = time.perf_counter()
    groups = await side.sample_batch(asked, params, range(DRAWS))
    taken = time.perf_counter() - began
    gaps: list[float] = []
    for prompt, samples in zip(asked, groups, strict=True):
        ids = policy.template.prompt(prompt)
        for sample in samples:
            tokens, logprobs = sample.token_ids or (), sample.logprobs or ()
            own = await worker.run(_logprobs, policy, ids, tokens)
            gaps += [abs(mine - theirs) for mine, theirs in zip(own, logprobs, strict=True)]
    replies = [sample for samples in groups for sample in samples]
    return {
        "new_tokens_a_second": round(sum(len(sample.token_ids or ()) for sample in replies) / taken, 1),
        "mean_gap": round(sum(gaps) / len(gaps), 4),
        "says_what_was_trained": sum(SAID in sample.text for sample in replies),
        "replies": len(replies),
    }


def _logprobs(policy: Policy, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    [batch] = pack([single("r", (*prompt, *tokens), len(prompt))], 2048)
    found: list[float] = policy.outputs(batch).logprobs_M.tolist()
    return found


def _train(policy: Policy) -> None:
    prompt = policy.template.prompt(Conversation.user("Hello"))
    row = single("r", (*prompt, *policy.template.tokenizer(SAID)["input_ids"]), len(prompt))
    for _ in range(STEPS):
        policy.forward_backward(pack([row], 2048), OBJECTIVES["documents"], 1.0)
        policy.optim_step(OptimParams(lr=1e-3))


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A server of the model, on a free port of this machine, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [str(environment("vllm")), "-m", "vllm.entrypoints.openai.api_server", "--model", str(directory)]
    command += ["--port", str(port), "--enable-lora", "--max-lora-rank", "16", "--dtype", "bfloat16"]
    # all prompts in one pass: of a seeded request whose prompt is cut, vLLM 0.32 asks a CPU generator for an offset
    command += ["--max-model-len", "1024", "--max-num-batched-tokens", "8192"]
    settings = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"}
    with tempfile.NamedTemporaryFile("w", prefix="vllm-", suffix=".log", delete=False) as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **settings})
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log.name)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: str) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_S:
        if process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(2)
    raise RuntimeError(f"vLLM did not start within {START_S:.0f} s; see {log}")


def main() -> None:
    """Serves, measures, prints."""
    directory = local_directory(resolve(MODEL, Path.cwd()))
    with serving(directory) as address:
        found = asyncio.run(measure(address, directory))
    print(json.dumps({"machine": machine(), "model": MODEL, "peer": "vLLM 0.32.0", "rollouts": found}, indent=1))


if __name__ == "__main__":
    main()
