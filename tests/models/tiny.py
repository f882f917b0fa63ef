"""Random models of a few thousand weights and a tokenizer of single bytes, made in memory.

Weights are large enough that logits differ clearly from token to token: greedy choices then don't hang on rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.gemma2 import Gemma2Config
from transformers.models.gpt_neox import GPTNeoXConfig
from transformers.models.llama import LlamaConfig
from transformers.models.qwen2 import Qwen2Config
from transformers.models.qwen3 import Qwen3Config

from ethos.models.architecture import CausalForward
from ethos.models.engine import Engine
from ethos.models.loading import Loaded
from ethos.models.templates import ChatTemplate
from ethos.models.worker import compute_worker

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN2 = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n"
    "    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. "
    "You are a helpful assistant.<|im_end|>\\n' }}\n"
    "{%- endif %}\n"
    '{%- for message in messages %}\n    {%- if message.role != "system" or not loop.first %}\n'
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)

_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "attn_implementation": "sdpa",
}
KNOWN = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama-tied": lambda: LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "llama-deep": lambda: LlamaConfig(**(_SIZES | {"num_hidden_layers": 6})),
    "llama-wide-heads": lambda: LlamaConfig(**_SIZES, head_dim=16, attention_bias=True),
    "llama-scaled-rope": lambda: LlamaConfig(
        **_SIZES, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    ),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen2-tied": lambda: Qwen2Config(**_SIZES, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**_SIZES, head_dim=16),
}
UNKNOWN = {
    "gpt-neox": lambda: GPTNeoXConfig(**{k: v for k, v in _SIZES.items() if k != "num_key_value_heads"}),
    "gemma2": lambda: Gemma2Config(
        **(_SIZES | {"attn_implementation": "eager"}), head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=2.0
    ),
}


def model(shape: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A random model as `loading.load` leaves one: in evaluation mode, no gradients."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config((KNOWN | UNKNOWN)[shape]())
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:  # norms and biases start as constants, under which mistakes would hide
                parameter.add_(0.2 * torch.randn_like(parameter))
    made.generation_config.eos_token_id = END
    made.generation_config.pad_token_id = END
    return made.to(dtype).eval().requires_grad_(False)


def tokenizer(template: str | None = SMOLLM2) -> Any:
    """One token a byte (0 to 255), then the special tokens of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )


END = 258  # <|im_end|>


def loaded(shape: str = "llama", seed: int = 0, ends: frozenset[int] = frozenset({END})) -> Loaded:
    """Model and tokenizer; `ends` empty lets every sequence run to its limit."""
    return Loaded(model(shape, seed), tokenizer(), ends)


def engine(made: Loaded, *, forward: CausalForward | None = None, slots: int = 16, **options: Any) -> Engine:
    """An engine without a system message."""
    return Engine(
        "tiny",
        "0" * 64,
        made,
        ChatTemplate(made.tokenizer, None),
        compute_worker(1),
        forward=forward,
        slots=slots,
        **options,
    )
