"""What plugins' settings say that is good for trying and not for strangers."""

from pathlib import Path
from typing import Any

import pytest

from llmgate.config import from_document
from llmgate.plugin.warnings import told_at_start, warnings_of

FILE = Path("gate.toml")
ACCOUNTS = {"registration": "open", "max_token_limit": 100_000}


def warned(plugins: dict[str, Any], *, public: bool = True, **tables: Any) -> list[str]:
    document = {
        "gate": {"listen": ["0.0.0.0:8000" if public else "127.0.0.1:8000"]},
        "store": {"url": "sqlite:///gate.db"},
        "upstreams": {"vllm": {"urls": ["http://127.0.0.1:1"]}},
        "routes": [{"path": "/v1", "upstream": "vllm"}],
        "quotas": [{"per": "user", "tokens": 5, "window": "day"}],
        "plugins": plugins,
        **tables,
    }
    return warnings_of(from_document(document, file=FILE))


def limit(**of: Any) -> dict[str, Any]:
    return {"limits": [{"per": "ip", "requests": 20, "window": "minute", **of}]}


@pytest.mark.parametrize(
    ("tables", "bounded"),
    [
        ({}, False),
        (limit(), True),
        (limit(routes=["llmgate_accounts"]), True),
        (limit(routes=["/v1"]), False),
        (limit(per="user"), False),
        ({"limits": [{"per": "gate", "concurrent": 5}]}, False),
    ],
)
def test_a_stranger_who_makes_accounts_without_end(tables: dict[str, Any], bounded: bool) -> None:
    found = warned({"llmgate_accounts": ACCOUNTS}, **tables)
    assert [line.partition(":")[0] for line in found] == (
        [] if bounded else ["plugins.llmgate_accounts.registration"]
    )
    assert warned({"llmgate_accounts": ACCOUNTS}, public=False, **tables) == []
    assert warned({"llmgate_accounts": {**ACCOUNTS, "registration": "closed"}}, **tables) == []


def test_a_route_that_whoever_registers_may_use_without_end() -> None:
    found = warned({"llmgate_accounts": ACCOUNTS}, **limit(), quotas=[])
    assert [line.partition(":")[0] for line in found] == ["routes[0]"]


PLATFORM = {"models": [{"name": "m", "base_model": "m", "upstream": "vllm", "upstream_model": "m"}]}
PRIVATE: dict[str, Any] = {}
LEAKY = {"payment": "instant", "providers": {"vllm": {"route": "/v1"}}}


@pytest.mark.parametrize(
    ("plugin", "settings", "safe", "keys"),
    [
        (
            "llmgate_platform",
            PLATFORM,
            {"registration": "closed", "public_lists": False},
            {"registration", "public_lists"},
        ),
        (
            "llmgate_private_ai",
            PRIVATE,
            {"limits": True, "public_url": "https://ai.example", "cors_origins": ["https://ai.example"]},
            {"keys_without_team", "public_url", "cors_origins"},
        ),
        ("llmgate_deployments", {"first_user_is_admin": True, "registration": "closed"}, {"first_user_is_admin": False},
         {"first_user_is_admin"}),
    ],
)  # fmt: skip
def test_what_a_surface_gives_away_off_loopback(
    plugin: str, settings: dict[str, Any], safe: dict[str, Any], keys: set[str]
) -> None:
    def found(**more: Any) -> set[str]:
        tables: dict[str, Any] = {**limit(), **more}
        said = warned({plugin: {**settings, **tables.pop("settings", {})}}, **tables)
        return {line.partition(":")[0].removeprefix(f"plugins.{plugin}.") for line in said}

    assert found() == keys
    assert found(settings=safe) == set()
    assert found(public=False) == set()


def test_what_is_told_at_the_start_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(
        '[gate]\nlisten = ["0.0.0.0:8000"]\n[plugins.llmgate_deployments]\nregistration = "closed"\n'
        "first_user_is_admin = true\n"
    )
    config = from_document({
        "gate": {"listen": ["0.0.0.0:8000"]},
        "plugins": {"llmgate_deployments": {"registration": "closed", "first_user_is_admin": True}},
    }, file=file)  # fmt: skip
    told = told_at_start(file, config, ["gate.listen[0]: of the file"])
    assert told[0] == f"{file}:2: gate.listen[0]: of the file"
    assert told[1].startswith(f"{file}:5: plugins.llmgate_deployments.first_user_is_admin:")
