"""llama.cpp on a GGUF file, all sequences in one batch, through the library's own C interface."""

import ctypes
import os

import llama_cpp as lib
from serve import seconds, serve

_loaded = {}


def _load(path, sequences, tokens):
    key = (path, sequences, tokens)
    if key in _loaded:
        return _loaded[key]
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.n_batch = tokens, sequences, tokens
    params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = len(os.sched_getaffinity(0))
    params.kv_unified = False
    context = lib.llama_init_from_model(model, params)
    sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_temp(1.0))
    lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_dist(0))
    _loaded[key] = context, sampler
    return _loaded[key]


def _fill(batch, place, token, position, sequence, wants_logits):
    batch.token[place], batch.pos[place] = token, position
    batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
    batch.logits[place] = wants_logits
    batch.n_tokens = place + 1


def generate(gguf, prompts, new_tokens):
    """Seconds for so many new tokens after each prompt, prefill included."""
    longest = max(map(len, prompts)) + new_tokens
    context, sampler = _load(gguf, len(prompts), len(prompts) * (-(-longest // 256) * 256))
    batch = lib.llama_batch_init(sum(map(len, prompts)), 0, 1)

    def run():
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

    taken = seconds(run)
    lib.llama_batch_free(batch)
    return {"seconds": taken}


if __name__ == "__main__":
    serve({"generate": generate})
