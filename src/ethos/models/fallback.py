"""Decoding, scoring and training through a model's own forward, for shapes that `models/architecture.py` doesn't know.

Slower: closed batches, padded on the left, no prefix is kept. Same noise, same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ethos.models.attention import Span
from ethos.models.decoding import Running
from ethos.models.sampling import choose, uniforms
from ethos.models.types import TokenLogprobs


@torch.no_grad()
def decode_closed(
    model: Any, sequences: Sequence[Running], end_tokens: frozenset[int], has_stop: Callable[[Running], bool]
) -> None:
    """Decodes a batch until every sequence has ended; `has_stop` tells whether one has reached a stop string."""
    device = next(model.parameters()).device
    longest = max(len(s.prompt) for s in sequences)
    tokens_BT = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask_BT = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens_BT[row, longest - len(sequence.prompt) :] = torch.from_numpy(sequence.prompt)
        mask_BT[row, longest - len(sequence.prompt) :] = 1
    tokens_BT, mask_BT = tokens_BT.to(device), mask_BT.to(device)
    past = None
    while any(s.finish is None for s in sequences):
        positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens_BT.shape[1] :]
        out = model(
            input_ids=tokens_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=past,
            use_cache=True,
        )
        past = out.past_key_values
        keys = np.array([s.noise_key for s in sequences], dtype=np.uint64)
        positions = np.array([len(s.tokens) for s in sequences], dtype=np.uint64)
        chosen = choose(out.logits[:, -1].float(), [s.params for s in sequences], uniforms(keys, positions))
        for sequence, token, logprob in zip(
            sequences, chosen.tokens_B.tolist(), chosen.logprobs_B.tolist(), strict=True
        ):
            if sequence.finish is None:
                sequence.tokens.append(token)
                sequence.logprobs.append(logprob)
                if token in end_tokens or has_stop(sequence):
                    sequence.finish = "stop"
                elif len(sequence.tokens) >= sequence.params.max_tokens:
                    sequence.finish = "length"
        tokens_BT = chosen.tokens_B[:, None]
        mask_BT = torch.cat((mask_BT, mask_BT.new_ones(len(sequences), 1)), dim=1)


@torch.no_grad()
def score_closed(model: Any, prompt: np.ndarray, replies: Sequence[np.ndarray]) -> list[TokenLogprobs]:
    """Teacher-forced log-probabilities, one reply at a time."""
    device = next(model.parameters()).device
    scored = []
    for reply in replies:
        tokens_1T = torch.from_numpy(np.concatenate((prompt, reply)))[None].to(device)
        logprobs_TV = model(input_ids=tokens_1T).logits[0, len(prompt) - 1 : -1].float().log_softmax(dim=-1)
        wanted = torch.from_numpy(reply).to(device)[:, None]
        scored.append(
            TokenLogprobs(tuple(int(t) for t in reply), tuple(logprobs_TV.gather(1, wanted).squeeze(1).tolist()))
        )
    return scored


def logprobs_padded(
    model: Any, tokens_N: Tensor, spans: Sequence[Span], sources_M: Tensor, targets_M: Tensor
) -> Tensor:
    """Log-probabilities of packed sequences' targets, fp32, shape [M], by the model on right-padded rows.

    The model's own head is asked, since some scale or cap their logits: all of them are held, unlike in training
    through the functional forward. What sequences share is computed in each.
    """
    rows = [tokens_N[span.tokens().to(tokens_N.device)] for span in spans]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask, own = torch.zeros_like(padded), torch.zeros_like(padded, dtype=torch.bool)
    for row, span in enumerate(spans):
        mask[row, : span.length] = 1
        own[row, span.length - len(span.own) : span.length] = True
    logits_NV = model(input_ids=padded, attention_mask=mask).logits[own]
    logprobs_MV: Tensor = logits_NV[sources_M].float().log_softmax(dim=-1)
    return logprobs_MV.gather(1, targets_M[:, None]).squeeze(1)
