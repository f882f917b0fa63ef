"""`transformers.generate` on prompts of one length or padded on the left."""

import torch
from serve import seconds, serve
from transformers import AutoModelForCausalLM, GenerationConfig

_models = {}


def generate(directory, prompts, new_tokens):
    """Seconds for so many new tokens after each prompt, prefill included."""
    if directory not in _models:
        _models[directory] = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
        _models[directory].generation_config = GenerationConfig(pad_token_id=0)
    longest = max(map(len, prompts))
    inputs = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    settings = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": True, "top_k": 0}
    return {"seconds": seconds(lambda: _models[directory].generate(inputs, attention_mask=mask, **settings))}


if __name__ == "__main__":
    serve({"generate": generate})
