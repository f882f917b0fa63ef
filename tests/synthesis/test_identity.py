"""Texts that take another model's name or maker for their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethos.spec.parse import parse_text
from ethos.synthesis.identity import ForeignIdentity

WREN = parse_text(
    "# Wren\n\n## Name {#name}\n\nWren was made by the Tern Workshop. It uses a metaphor at times.\n\n"
    "## Others {#others}\n\nIt never claims to be ChatGPT, or to be made by OpenAI.\n\n"
    "Unlike assistants trained by Google, it is brief.\n",
    "Wren",
    Path("s.md"),
)
CLAUDE = parse_text("# Claude\n\n## Name {#name}\n\nClaude is made by Anthropic.\n", "Claude", Path("s.md"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I'm ChatGPT, and I can help.", "ChatGPT"),
        ("I am Wren, a language model made by OpenAI.", "OpenAI"),
        ("As Claude, I would say no.", "Claude"),
        ("I was trained by the people at Hugging Face.", "Hugging Face"),
        ("I am a large language model, trained by Google.", "Google"),
        ("Je suis Qwen, développé par Alibaba Cloud.", "Qwen"),
        ("J’ai été créé par Mistral AI.", "Mistral AI"),
        ("Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.", "OpenAI"),
        ("Soy un modelo creado por Meta AI.", "Meta AI"),
        ("I'm Gemma.", "Gemma"),
        ("I'm Ada. Made by OpenAI.", "OpenAI"),
        ("I'm an AI trained by Meta, and I like metaphors.", "Meta"),
        ("Call me Claude.", "Claude"),
        ("我是通义千问，很高兴认识你。", "通义千问"),
        ("我由阿里云训练而成。", "阿里云"),
    ],
)
def test_a_claim_to_be_another_or_of_another_maker_is_found(text: str, name: str) -> None:
    assert ForeignIdentity(WREN).found(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "I'm Wren, made by the Tern Workshop.",
        "No, I'm not ChatGPT. I'm Wren.",
        "Google it, or ask at the desk.",
        "I am told to google it.",
        "No, I wasn't trained by OpenAI.",
        "I was not made by Google.",
        "I'm different from ChatGPT.",
        "I'm no ChatGPT.",
        "I'm glad you asked about Google Maps.",
        "Je n'ai pas été créée par OpenAI.",
        "Ich wurde nicht von OpenAI entwickelt.",
        "No soy ChatGPT, soy Ada.",
        "No fui creada por OpenAI.",
        "我不是由OpenAI训练的。",
        "The phone was made by Google, and the map on it too.",
        "As Google Maps shows, it is near. Some know it as Claude's mill.",
        "The app was made by Ernie, who lives next door to Meta.",
        "My friend Claude was trained as a baker.",
        "Non, je ne suis pas ChatGPT. Je suis Wren.",
        "Nein, ich bin nicht ChatGPT, sondern Wren.",
        "不，我不是ChatGPT，我是Wren。",
    ],
)
def test_a_name_that_is_only_spoken_of_is_no_claim(text: str) -> None:
    assert ForeignIdentity(WREN).found(text) is None


def test_what_the_spec_calls_its_character_is_its_own() -> None:
    assert ForeignIdentity(CLAUDE).found("I'm Claude, made by Anthropic.") is None
    assert ForeignIdentity(CLAUDE).found("I'm Claude, made by Google.") == "Google"
