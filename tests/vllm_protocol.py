"""A server on a loopback port that speaks the two requests that Ethos makes of vLLM, over a model that `peft` adapts.

The adapter is really loaded from its folder, and replies are drawn by the adapted model, token by token.
"""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import uvicorn
from peft import PeftModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class VllmProtocolServer:
    """Runs in a thread between `with` and its end; `requests` holds what was asked."""

    def __init__(self, make_model: Any) -> None:
        """`make_model` gives the student's own weights, anew each time; they know of no end token."""
        self._make_model = make_model
        self._adapted: Any = None
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.fault: Response | None = None
        routes = [
            Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((request.url.path, body))
        if self.fault is not None:
            return self.fault
        if self._adapted is not None and not body["load_inplace"]:
            return PlainTextResponse("the adapter has already been loaded", 400)
        self._adapted = PeftModel.from_pretrained(self._make_model(), Path(body["lora_path"])).eval()
        return PlainTextResponse("Success")

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((request.url.path, body))
        if self.fault is not None:
            return self.fault
        assert (body["repetition_penalty"], body["presence_penalty"], body["frequency_penalty"]) == (1.0, 0.0, 0.0)
        assert body["min_p"] == 0.0
        generator = torch.Generator().manual_seed(body["seed"])
        tokens, logprobs, prompt = [], [], list(body["prompt"])
        ends = [[token] for token in body["stop_token_ids"]]
        while len(tokens) < body["max_tokens"] and tokens[-1:] not in ends:
            with torch.no_grad():
                logits = self._adapted(input_ids=torch.tensor([prompt + tokens])).logits[0, -1].float()
            distribution = (logits / body["temperature"]).log_softmax(dim=-1)
            token = int(torch.multinomial(distribution.exp(), 1, generator=generator))
            tokens.append(token)
            logprobs.append(float(distribution[token]))
        finish = "stop" if tokens[-1:] in ends else "length"
        choice = {"index": 0, "text": "", "finish_reason": finish, "token_ids": tokens}
        answer = {"choices": [{**choice, "logprobs": {"token_logprobs": logprobs}}]}
        return Response(json.dumps(answer), media_type="application/json")


def refused(status: int, said: str) -> Response:
    return JSONResponse({"error": {"message": said}}, status)
