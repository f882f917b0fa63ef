from __future__ import annotations

import pytest
from pydantic import ValidationError

from ethos.store.config.models import ModelsConfig, without_secrets


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("openai:https://u:sesame@example.org/v1#m", "openai:https://…example.org/v1#m"),
        ("openai:u:sesame@example.org/v1#m", "openai:…example.org/v1#m"),
        ("openai:htps://u:ses/ame@example.org/v1#m", "openai:htps://…example.org/v1#m"),
        ("openai:https://u:ses#ame@example.org/v1#m", "openai:https://…example.org/v1#m"),
        ("openai:https://example.org/v1?key=sesame#m", "openai:https://example.org/v1…#m"),
        ("openai:https://example.org/v1?key=ses#ame#m", "openai:https://example.org/v1…#m"),
        ("https://u:sesame@example.org/v1", "https://…example.org/v1"),
    ],
)
def test_what_a_url_says_of_a_user_and_asks_with_is_left_out(name: str, shown: str) -> None:
    assert without_secrets(name) == shown


@pytest.mark.parametrize(
    "name",
    ["openai:http://localhost:8000/v1#org/m@main", "hf:org/name@refs/pr/1", "anthropic:claude", "models/m@2", "a b"],
)
def test_a_name_without_a_secret_is_shown_as_it_is(name: str) -> None:
    assert without_secrets(name) == name


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("openai:https://u:sesame@example.org/v1#other", "plays no part; use one of embedded:smollm2-135m, openai:"),
        ("https://u:sesame@example.org/v1#m", "runs here"),
    ],
)
def test_a_mistake_among_the_endpoints_repeats_no_secret(listed: str, said: str) -> None:
    judge = "openai:https://u:sesame@example.org/v1#m"
    parts = {"teacher": "embedded:smollm2-135m", "judge": listed if said == "runs here" else judge}
    with pytest.raises(ValidationError) as raised:
        ModelsConfig.model_validate(parts | {"endpoints": [{"name": listed}]})
    message = raised.value.errors()[0]["msg"]
    assert said in message
    assert "sesame" not in message
