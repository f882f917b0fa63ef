"""llama.cpp on a GGUF file, many sequences in a batch, through the library's own C interface."""

import ctypes
import functools
import os

import llama_cpp as lib
from serve import seconds, serve

SETTINGS = [(at_once, unified) for at_once in (16, 32, 64) for unified in (False, True)]
"""Sequences in a batch, and whether they share one key-value buffer."""
_fastest = {}


@functools.cache
def _load(path):
    lib.llama_backend_init()
    sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_temp(1.0))
    lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_dist(0))
    return lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params()), sampler


def _context(model, sequences, tokens, unified):
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.n_batch = tokens, sequences, tokens
    params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = len(os.sched_getaffinity(0))
    params.kv_unified = unified
    return lib.llama_init_from_model(model, params)


def _fill(batch, place, token, position, sequence, wants_logits):
    batch.token[place], batch.pos[place] = token, position
    batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
    batch.logits[place] = wants_logits
    batch.n_tokens = place + 1


def _run(context, sampler, batch, prompts, new_tokens):
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    batch.n_tokens = 0
    lasts = []
    for sequence, prompt in enumerate(prompts):
        for position, token in enumerate(prompt):
            _fill(batch, batch.n_tokens, token, position, sequence, position == len(prompt) - 1)
        lasts.append(batch.n_tokens - 1)
    for turn in range(new_tokens):
        assert lib.llama_decode(context, batch) == 0
        drawn = [lib.llama_sampler_sample(sampler, context, ctypes.c_int32(last)) for last in lasts]
        if turn + 1 < new_tokens:
            for sequence, token in enumerate(drawn):
                _fill(batch, sequence, token, len(prompts[sequence]) + turn, sequence, True)
            lasts = list(range(len(drawn)))


def _taken(gguf, prompts, new_tokens, at_once, unified):
    """Seconds for all prompts, so many at once; the context is made before the clock starts."""
    model, sampler = _load(gguf)
    longest = -(-(max(map(len, prompts)) + new_tokens) // 256) * 256
    context = _context(model, at_once, at_once * longest, unified)
    batch = lib.llama_batch_init(at_once * longest, 0, 1)
    parts = [prompts[start : start + at_once] for start in range(0, len(prompts), at_once)]
    taken = seconds(lambda: [_run(context, sampler, batch, part, new_tokens) for part in parts])
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    return taken


def generate(gguf, prompts, new_tokens):
    """Seconds for so many new tokens after each prompt, prefill included, at the settings fastest the first time."""
    if gguf not in _fastest:
        fitting = [setting for setting in SETTINGS if setting[0] <= len(prompts)]
        _fastest[gguf] = min(fitting, key=lambda setting: _taken(gguf, prompts, new_tokens, *setting))
    at_once, unified = _fastest[gguf]
    settings = {"at_once": at_once, "kv_unified": unified}
    return {"seconds": _taken(gguf, prompts, new_tokens, at_once, unified), "settings": settings}


if __name__ == "__main__":
    serve({"generate": generate})
