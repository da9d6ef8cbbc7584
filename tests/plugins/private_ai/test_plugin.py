"""The plugin opens by config/private-ai.toml, and says what that lacks."""

import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from llmgate.cli.dry_run import dry_run
from llmgate.config import Config, from_document, load
from llmgate.errors import ConfigError
from plugins.conftest import CONFIG
from plugins.private_ai.gate import SEALING_KEY, Running

FILE = CONFIG / "private-ai.toml"


def config_of(change: Callable[[dict[str, Any]], object]) -> Config:
    document = tomllib.loads(FILE.read_text())
    document["store"]["sealing_keys"] = [SEALING_KEY]
    document["plugins"]["llmgate_private_ai"]["regions"][0]["postgres_admin_password"] = "x"
    change(document)
    return from_document(document, file=FILE)


async def test_it_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the guide's ports, from the environment that its first lines tell of."""
    monkeypatch.setenv("LLMGATE_SEALING_KEY", SEALING_KEY)
    monkeypatch.setenv("VECTOR_ADMIN_PASSWORD", "x")
    async with dry_run(load(FILE)) as gate:
        assert {str(address) for address in gate.apps} == {
            "127.0.0.1:8800",
            "127.0.0.1:4000",
            "127.0.0.1:3000",
        }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.pop("prices"), "a model without a price is free"),
        (lambda d: d["store"].pop("sealing_keys"), "write sealing_keys in [store]"),
        (lambda d: d["gate"].update(listen=["0.0.0.0:8800"]), "the gate listens on 0.0.0.0:8800"),
        (lambda d: d["gate"].update(listen=["unix:gate.sock"]), "the gate listens on unix:.*gate.sock"),
        (lambda d: d["gate"].update(trusted_proxies=["127.0.0.1"]), "a loopback address behind a proxy"),
        (lambda d: d["gate"].update(hosts=["ai.example.com"]), "a loopback address behind a proxy"),
        (
            lambda d: d["plugins"]["llmgate_private_ai_dashboard"].update(listen="192.0.2.1:3000"),
            "the gate listens on 192.0.2.1:3000",
        ),
        (
            lambda d: (d.pop("limits"), d["plugins"].pop("llmgate_private_ai")),
            "is a part of llmgate_private_ai",
        ),
        (lambda d: d["store"].update(sealing_keys=["short"]), "must have at least 32 characters"),
    ],
    ids=[
        "no prices",
        "no sealing key",
        "an open address",
        "a socket for a proxy",
        "a proxy that is trusted",
        "a public name",
        "an open dashboard",
        "models alone",
        "a short key",
    ],
)
async def test_what_it_lacks_is_said(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("[", r"\[")):
        async with dry_run(config_of(change)):
            pass


async def test_the_first_admin_is_made_once(running: Running) -> None:
    """Whoever renames it is not given another one at the next start."""
    me = await running.ask("admin@example.com", "GET", "/auth/me")
    assert me["is_admin"]
    found = await running.ask("admin@example.com", "GET", "/users?role=system_admin")
    assert len(found) == 1
