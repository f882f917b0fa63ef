"""A random Llama of a few thousand weights with a tokenizer of bytes, as a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny(directory: Path) -> Path:
    """Writes it; the same weights every time."""
    from models import tiny

    tiny.tokenizer(TEMPLATE).save_pretrained(directory)
    tiny.model("llama-tied").save_pretrained(directory)
    return directory
