"""The decode loop itself, all on the compute thread: prefill with shared prefixes, one step for all, scores.

Shapes as in `models/architecture.py`. New sequences join between steps, once they fill a quarter of the slots or are
the last (`engine.py`); those in decoding are slots 0 to n-1, and the slots after them are scratch space for prefills
and scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ethos.models.architecture import CausalForward
from ethos.models.attention import ExtendAttention, KeyValueSlots, StepAttention
from ethos.models.memory import TOKENS_A_SLOT
from ethos.models.prefixes import Prefix, PrefixCache, shared_length
from ethos.models.sampling import choose, uniforms
from ethos.models.types import FinishReason, SamplingParams, TokenLogprobs
from ethos.process import give_back_freed_memory

_PREFILL_TOKENS = 4096  # in one pass
_PREFILL_ACTIVATIONS_CPU = 512 * 17920  # tokens in a pass x widest activation; more falls out of a CPU's caches
_WORTH_SHARING = 32  # tokens; a shorter beginning is computed again, neither waited for nor kept
_LOGIT_ROWS = 256
_KEPT_BYTES = 2**30


@dataclass(slots=True)
class Running:
    """One sequence being decoded."""

    prompt: np.ndarray
    params: SamplingParams
    noise_key: int
    draw: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None

    @property
    def length(self) -> int:
        """Tokens whose keys and values are in the slot: all but the newest."""
        return len(self.prompt) + len(self.tokens) - 1

    @property
    def limit(self) -> int:
        """Tokens that it can come to."""
        return len(self.prompt) + self.params.max_tokens


class Decoding:
    """Keeps the slots, and moves all running sequences on by a token at a time.

    `is_frozen` says that the weights never change and serve nothing else; they may then be kept packed alone.
    """

    def __init__(
        self,
        forward: CausalForward,
        end_tokens: frozenset[int],
        slots: int,
        prefix_bytes: int,
        *,
        is_frozen: bool = False,
    ) -> None:
        self.forward, self.end_tokens, self.slots, self._is_frozen = forward, end_tokens, slots, is_frozen
        self.running: list[Running] = []
        self._cache = KeyValueSlots(
            len(forward.layers),
            slots,
            slots * TOKENS_A_SLOT,
            forward.kv_heads,
            forward.head_width,
            forward.dtype,
            forward.device,
        )
        self._prefixes = PrefixCache(prefix_bytes, _WORTH_SHARING)
        self._packed = False

    def has_room(self, more: int, tokens: int) -> bool:
        """Whether `more` sequences of up to `tokens` tokens fit beside those that run."""
        return len(self.running) + more <= self._cache.slots_for(self._longest(tokens))

    def _longest(self, tokens: int) -> int:
        return max((tokens, *(running.limit for running in self.running)))

    def rest(self) -> None:
        """To be called when nothing runs: gives back the memory of the slots, if it is much."""
        if self._cache.size_bytes > _KEPT_BYTES:
            self._cache.release()
            give_back_freed_memory()

    def forget(self) -> None:
        """To be called when the weights have changed: nothing computed with the old ones is used again."""
        assert not self._is_frozen, "the weights of a frozen model have changed"
        self._prefixes.clear()
        self.forward.unpack()
        self._packed = False

    @torch.inference_mode()
    def admit(self, groups: Sequence[Sequence[Running]]) -> list[Running]:
        """Starts groups of draws that share a prompt, prefilled once. Returns those that ended at once."""
        self.settle()
        starts, slot = [], len(self.running)
        for group in groups:
            starts.append(slot)
            slot += len(group)
        self._cache.reserve(slot, self._longest(max(group[0].limit for group in groups)))
        last_BE = self._prefill([group[0].prompt for group in groups], starts)
        rows: list[int] = []
        for row, (group, start) in enumerate(zip(groups, starts, strict=True)):
            for offset in range(1, len(group)):
                self._cache.move(start, start + offset, len(group[0].prompt))
            rows.extend([row] * len(group))
        joined = [running for group in groups for running in group]
        self.running.extend(joined)
        return self._take_tokens(joined, self.forward.logits(last_BE)[rows])

    @torch.inference_mode()
    def step(self) -> list[Running]:
        """One token for every running sequence. Returns those that ended."""
        self.settle()
        lengths = [r.length for r in self.running]
        device = self.forward.device
        newest_B = torch.tensor([r.tokens[-1] for r in self.running], device=device)
        hidden_BE = self.forward.hidden(
            newest_B, torch.tensor(lengths, device=device), StepAttention(self._cache, lengths)
        )
        return self._take_tokens(self.running, self.forward.logits(hidden_BE))

    @torch.inference_mode()
    def score_many(self, tasks: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]]) -> list[list[TokenLogprobs]]:
        """Teacher-forced log-probabilities of replies to each prompt; takes a slot for each prompt.

        The replies to one prompt follow it in its slot one after another, those to different prompts side by side.
        """
        self.settle()
        base = len(self.running)
        longest = max(len(prompt) + len(reply) for prompt, replies in tasks for reply in replies)
        self._cache.reserve(base + len(tasks), self._longest(longest))
        prompts = [prompt for prompt, _ in tasks]
        last_BE = self._prefill(prompts, list(range(base, base + len(tasks))))
        results: list[list[TokenLogprobs]] = [[] for _ in tasks]
        for turn in range(max(len(replies) for _, replies in tasks)):
            asked = [row for row, (_, replies) in enumerate(tasks) if turn < len(replies)]
            replies = [tasks[row][1][turn] for row in asked]
            rests = self._rests(replies, [base + row for row in asked], [len(prompts[row]) for row in asked])
            firsts = self._logprobs(last_BE[asked], np.array([reply[0] for reply in replies]))
            for row, reply, first, rest in zip(asked, replies, firsts, rests, strict=True):
                results[row].append(TokenLogprobs(tuple(int(t) for t in reply), (first, *rest)))
        return results

    def _rests(self, replies: Sequence[np.ndarray], slots: Sequence[int], past: Sequence[int]) -> list[list[float]]:
        """Log-probabilities of all tokens but the first of a reply in each slot."""
        found: list[list[float]] = [[] for _ in replies]
        waiting = [index for index, reply in enumerate(replies) if len(reply) > 1]
        while waiting:
            batch = [waiting.pop(0)]
            tokens = len(replies[batch[0]])
            while waiting and tokens + len(replies[waiting[0]]) <= self._prefill_tokens:
                tokens += len(replies[waiting[0]])
                batch.append(waiting.pop(0))
            news = [replies[index][:-1] for index in batch]
            hidden_NE = self._extend(news, [slots[index] for index in batch], [past[index] for index in batch])
            logprobs = iter(self._logprobs(hidden_NE, np.concatenate([replies[index][1:] for index in batch])))
            for index, new in zip(batch, news, strict=True):
                found[index] = list(islice(logprobs, len(new)))
        return found

    @property
    def _prefill_tokens(self) -> int:
        if self.forward.device.type != "cpu":
            return _PREFILL_TOKENS
        return min(_PREFILL_TOKENS, _PREFILL_ACTIVATIONS_CPU // self.forward.widest)

    def _logprobs(self, hidden_NE: Tensor, targets: np.ndarray) -> list[float]:
        found: list[float] = []
        for start in range(0, len(targets), _LOGIT_ROWS):
            wanted_N = torch.from_numpy(targets[start : start + _LOGIT_ROWS]).to(hidden_NE.device)
            found += self.forward.logprobs(hidden_NE[start : start + _LOGIT_ROWS], wanted_N).tolist()
        return found

    def settle(self) -> None:
        """Packs the weights, unless they are packed since they last changed."""
        if not self._packed:
            self.forward.pack(self.slots, is_final=self._is_frozen)
            self._packed = True

    def _prefill(self, prompts: Sequence[np.ndarray], slots: Sequence[int]) -> Tensor:
        """Fills slots with prompts; hidden states of each prompt's last token, shape [B, E].

        Of several prompts with a long common beginning, one goes first and the others take up from its prefix.
        """
        last: dict[int, Tensor] = {}
        waiting = list(range(len(prompts)))
        while waiting:
            batch: list[int] = []
            past: list[int] = []
            deferred: list[int] = []
            tokens = 0
            for index in waiting:
                prompt = prompts[index]
                prefix, shared = self._prefixes.longest(prompt)
                shared = min(shared, len(prompt) - 1)
                ahead = max((shared_length(prompts[other], prompt) for other in batch), default=0)
                full = tokens + len(prompt) - shared > self._prefill_tokens
                if batch and (full or min(ahead, len(prompt) - 1) - shared >= _WORTH_SHARING):
                    deferred.append(index)
                    continue
                if prefix is not None:
                    self._cache.load(slots[index], prefix.keys_LKSD, prefix.values_LKSD, shared)
                batch.append(index)
                past.append(shared)
                tokens += len(prompt) - shared
            news = [prompts[index][start:] for index, start in zip(batch, past, strict=True)]
            hidden_NE = self._extend(news, [slots[index] for index in batch], past)
            ends = np.cumsum([len(new) for new in news]) - 1
            last.update(zip(batch, hidden_NE[torch.from_numpy(ends).to(hidden_NE.device)], strict=True))
            for index, new in zip(batch, news, strict=True):
                if len(new) >= _WORTH_SHARING:
                    self._prefixes.add(Prefix(prompts[index], *self._cache.read(slots[index], len(prompts[index]))))
            waiting = deferred
        return torch.stack([last[index] for index in range(len(prompts))])

    def _extend(self, news: Sequence[np.ndarray], slots: list[int], past: list[int]) -> Tensor:
        """Runs new tokens of several sequences after what their slots hold; hidden states, flat, shape [N, E]."""
        device = self.forward.device
        lengths = [len(new) for new in news]
        tokens_N = torch.from_numpy(np.concatenate(news)).to(device)
        positions_N = torch.cat([torch.arange(p, p + n) for p, n in zip(past, lengths, strict=True)]).to(device)
        return self.forward.hidden(tokens_N, positions_N, ExtendAttention(self._cache, slots, past, lengths))

    def _take_tokens(self, sequences: Sequence[Running], logits_BV: Tensor) -> list[Running]:
        """Draws a token for each sequence, and takes out of the slots those that end with it."""
        keys = np.array([r.noise_key for r in sequences], dtype=np.uint64)
        positions = np.array([len(r.tokens) for r in sequences], dtype=np.uint64)
        chosen = choose(logits_BV, [r.params for r in sequences], uniforms(keys, positions))
        pairs = zip(sequences, chosen.tokens_B.tolist(), chosen.logprobs_B.tolist(), strict=True)
        ended = []
        for running, token, logprob in pairs:
            running.tokens.append(token)
            running.logprobs.append(logprob)
            if token in self.end_tokens:
                running.finish = "stop"
            elif len(running.tokens) >= running.params.max_tokens:
                running.finish = "length"
            if running.finish:
                ended.append(running)
        self.drop(ended)
        return ended

    @torch.inference_mode()
    def drop(self, gone: Sequence[Running]) -> None:
        """Frees slots; the last sequences move into the gaps."""
        leaving = {id(running) for running in gone}
        for slot in range(len(self.running) - 1, -1, -1):
            if id(self.running[slot]) in leaving:
                last = self.running.pop()
                if slot < len(self.running):
                    self._cache.move(len(self.running), slot, last.length)
                    self.running[slot] = last
