"""A GGUF file of one random layer, written here: what is tested is the mechanics, against the library's own reading."""

import errno
from pathlib import Path

import gguf
import numpy as np
import pytest

from ethos.errors import EthosError
from ethos.models.conversion import convert_gguf, converted_directory

WIDTH, HEADS, INNER = 32, 4, 64
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama-shaped, with tied embeddings and a byte-level vocabulary that splits as SmolLM2's does."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    letters = list(bytes_to_unicode().values())
    tokens = [*SPECIAL, *letters, "ĠĠ", "</s>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    )
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}")
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,), "blk.0.attn_norm": (WIDTH,)}
    shapes |= {f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_norm": (WIDTH,), "blk.0.ffn_down": (WIDTH, INNER)}
    shapes |= {f"blk.0.ffn_{part}": (INNER, WIDTH) for part in ("gate", "up")}
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32) if len(shape) > 1 else np.ones(shape, np.float32)
        if len(shape) > 1:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny"
    convert_gguf(tiny_gguf, directory)
    return directory


def test_the_converted_model_computes_what_the_file_says(tiny_gguf: Path, converted: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    ours = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.bfloat16)
    theirs = AutoModelForCausalLM.from_pretrained(
        tiny_gguf.parent,
        gguf_file=tiny_gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokens = torch.tensor([[1, 5, 9, 40, 2]])
    assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    assert ours.lm_head.weight is ours.model.embed_tokens.weight
    assert not hasattr(ours.config, "quantization_config")


def test_every_special_token_that_ends_a_reply_is_named(converted: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    assert GenerationConfig.from_pretrained(converted).eos_token_id == [0, 2]  # </s> is no special token here
    assert AutoTokenizer.from_pretrained(converted).eos_token == "<|im_end|>"


def test_text_is_split_as_the_file_names_it(converted: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert tokenizer.tokenize("a  1") == ["a", "ĠĠ", "1"]  # GPT-2's splitting gives one space to the digit


def test_the_chat_template_comes_along(converted: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
        == "<|im_start|>user\na<|im_end|>\n"
    )


def test_only_the_whole_directory_appears(converted: Path) -> None:
    assert [path.name for path in converted.parent.iterdir()] == ["tiny"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= {
        path.name for path in converted.iterdir()
    }


@pytest.mark.parametrize("content", [b"", b"not a model", b"half"], ids=["empty", "other", "half"])
def test_a_damaged_file_is_one_sentence_and_leaves_nothing(content: bytes, tiny_gguf: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:20_000] if content == b"half" else content)
    with pytest.raises(EthosError, match=r"damaged\.gguf: can't be read as a GGUF model"):
        convert_gguf(damaged, tmp_path / "models" / "damaged")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_full_disk_is_not_blamed_on_the_file(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(EthosError, match=r"models/tiny: can't be written \(.*No space left.*ETHOS_CACHE"):
        convert_gguf(tiny_gguf, tmp_path / "models" / "tiny")
    assert list((tmp_path / "models").iterdir()) == []


def test_another_content_lies_in_another_directory(tmp_path: Path) -> None:
    assert converted_directory(tmp_path, "tiny", "a" * 64) != converted_directory(tmp_path, "tiny", "b" * 64)
