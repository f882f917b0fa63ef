"""vLLM's build for CPUs, in one process."""

from serve import seconds, serve
from vllm import LLM, SamplingParams

_models = {}


def generate(directory, prompts, new_tokens):
    """Seconds for so many new tokens after each prompt, prefill included."""
    if directory not in _models:
        _models.clear()
        _models[directory] = LLM(
            model=directory,
            dtype="bfloat16",
            max_model_len=1024,
            max_num_seqs=64,
            enable_prefix_caching=False,  # each round's prompts are new
        )
    params = SamplingParams(max_tokens=new_tokens, min_tokens=new_tokens, ignore_eos=True, temperature=1.0)
    given = [{"prompt_token_ids": prompt} for prompt in prompts]
    return {"seconds": seconds(lambda: _models[directory].generate(given, params, use_tqdm=False))}


if __name__ == "__main__":
    serve({"generate": generate})
