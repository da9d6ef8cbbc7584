"""The keys of the plugin's tables: what is wrong is named with its place, what is unfit for strangers is warned of."""

from typing import Any

import pytest

from llmgate.errors import ConfigError
from llmgate.plugin.api import convert_table
from llmgate_private_ai.plugin import NAME
from llmgate_private_ai.settings import ModelSettings, Settings

REGION = {"name": "near", "postgres_host": "db", "postgres_admin_user": "postgres", "backend": "route:models"}


def settings(**table: Any) -> Settings:
    return convert_table(Settings, table, f"plugins.{NAME}")


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ({"public_ulr": "http://localhost"}, "public_ulr"),
        ({"model_url": "localhost"}, "model_url"),
        ({"code_tries": -1}, "code_tries"),
        ({"regions": [REGION]}, "postgres_admin_password"),
        ({"regions": [REGION | {"postgres_admin_password": "x", "postgres_port": 0}]}, "postgres_port"),
        ({"first_admin": {"email": "admin@example.com"}}, "password"),
        ({"allowed_networks": ["10.0.0.0/99"]}, "allowed_networks"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(table: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        settings(**table)
    assert place in str(wrong.value) and NAME in str(wrong.value)


def test_secrets_do_not_show() -> None:
    read = settings(
        regions=[REGION | {"postgres_admin_password": "hidden-1", "backend_key": "hidden-2"}],
        first_admin={"password": "hidden-3"},
        team_metrics_token="hidden-4",
    )
    assert "hidden" not in repr(read)
    assert read.regions[0].postgres_admin_password.reveal() == "hidden-1"


def test_strangers_are_warned_of_only_where_they_can_come() -> None:
    assert list(settings().warnings(public=False)) == []
    assert [key for key, _ in settings().warnings(public=True)] == [
        "keys_without_team",
        "public_url",
        "cors_origins",
    ]
    fit = settings(
        limits=True, public_url="https://api.example.com", cors_origins=["https://app.example.com"]
    )
    assert list(fit.warnings(public=True)) == []


def test_a_models_facts_are_read_by_its_name() -> None:
    table = {"models": {"gpt-4": {"supports_vision": True}}}
    read = convert_table(ModelSettings, table, "plugins.llmgate_private_ai_models")
    assert read.models["gpt-4"].supports_vision and read.models["gpt-4"].mode is None
