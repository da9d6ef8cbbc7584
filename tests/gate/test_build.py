"""A gate is built as a whole or not at all, and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import msgspec
import pytest
from stores import migrated_file

from llmgate.config import Config, from_document
from llmgate.errors import ConfigError
from llmgate.gate.build import open_gate
from llmgate.gate.mounts import ProxyMount
from llmgate.gate.runtime import open_runtime
from llmgate.plugin.api import Services, Surface

__all__ = ["migrated_file"]


class Plugin:
    """Notes what it is handed, and when it is opened and closed."""

    settings = msgspec.defstruct("Settings", [("fails", bool, False)])

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.gate: Services | None = None

    @asynccontextmanager
    async def open(self, settings: Any, gate: Services) -> AsyncIterator[Surface]:
        self.heard.append("opened")
        self.gate = gate
        if settings.fails:
            raise ConfigError(["plugins.mine: does not fit"])
        yield Surface("mine")
        self.heard.append("closed")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    made = Plugin()
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: made)
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])
    return made


def config_of(file: Path, folder: Path, **tables: Any) -> Config:
    if not (folder / "gate.db").exists():
        copy(file, folder / "gate.db")
    document = {
        "store": {"url": f"sqlite:///{folder / 'gate.db'}"},
        "upstreams": {"u": {"urls": ["http://127.0.0.1:9"], "health": {"enabled": False}}},
        "routes": [
            {"path": "/v1", "upstream": "u"},
            {"path": "/v2", "upstream": "u", "listen": "127.0.0.1:8001"},
        ],
        **tables,
    }
    return from_document(document, file=folder / "gate.toml", environ={})


async def test_there_is_an_application_for_each_address(migrated_file: Path, tmp_path: Path) -> None:
    config = config_of(migrated_file, tmp_path)
    async with open_runtime(config) as runtime, open_gate(config, runtime, watch=False) as gate:
        routes = {
            str(address): [route.settings.name for route in app.routes if isinstance(route, ProxyMount)]
            for address, app in gate.apps.items()
        }
        assert routes == {"127.0.0.1:8000": ["/v1"], "127.0.0.1:8001": ["/v2"]}
        assert gate.in_flight == 0
        await gate.drained()


async def test_a_plugin_is_handed_the_routes_and_closed_with_the_gate(
    migrated_file: Path, tmp_path: Path, plugin: Plugin
) -> None:
    config = config_of(migrated_file, tmp_path, plugins={"mine": {}})
    async with open_runtime(config) as runtime:
        async with open_gate(config, runtime, watch=False):
            assert plugin.gate is not None
            assert plugin.gate.routes.keys() == {"/v1", "/v2"}
            assert plugin.heard == ["opened"]
        assert plugin.heard == ["opened", "closed"]


async def test_a_file_that_does_not_fit_leaves_what_was_in_force(
    migrated_file: Path, tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults of quotas reach the ledger, which outlives the gate, only when nothing can fail any more."""
    config = config_of(
        migrated_file,
        tmp_path,
        plugins={"mine": {"fails": True}},
        quotas=[{"per": "user", "tokens": 1, "window": "day"}],
    )
    async with open_runtime(config_of(migrated_file, tmp_path)) as runtime:
        put_in_force: list[object] = []
        monkeypatch.setattr(
            type(runtime.ledger), "set_defaults", lambda _, defaults: put_in_force.append(defaults)
        )
        with pytest.raises(ConfigError, match="does not fit"):
            async with open_gate(config, runtime, watch=False):
                pass
        assert plugin.heard == ["opened"]
        assert put_in_force == []


async def test_every_clash_is_named(migrated_file: Path, tmp_path: Path) -> None:
    routes = [
        {"path": "/", "name": "a", "upstream": "u", "allow": ["GET /healthz", "GET /v1/models"]},
        {"path": "/v1", "name": "b", "upstream": "u"},
    ]
    config = config_of(migrated_file, tmp_path, routes=routes)
    async with open_runtime(config) as runtime:
        with pytest.raises(ConfigError) as raised:
            async with open_gate(config, runtime, watch=False):
                pass
    text = str(raised.value)
    assert "GET /healthz is also claimed" in text and "GET /v1/models is also claimed" in text
