"""Plugins: found by entry point, and not before gate.toml names them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmgate.config import PluginTable
from llmgate.errors import ConfigError
from llmgate.plugin import loader
from llmgate.plugin.loader import load_plugin, migrations_of
from llmgate.store import CORE, Migrations


class Plain:
    """A plugin without tables."""


class WithTables:
    """A plugin with tables of its own."""

    migrations = Migrations("mine", Path("versions"))


class Entry:
    """An entry point that notes that it was loaded."""

    def __init__(self, name: str, plugin: type) -> None:
        self.name = name
        self.loaded = 0
        self._plugin = plugin

    def load(self) -> type:
        self.loaded += 1
        return self._plugin


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    installed = [Entry("plain", Plain), Entry("tables", WithTables)]

    def entry_points(*, group: str) -> list[Entry]:
        assert group == "llmgate.plugins"
        return installed

    monkeypatch.setattr(loader, "entry_points", entry_points)
    return {entry.name: entry for entry in installed}


def test_only_the_plugin_that_is_named_is_imported(entries: dict[str, Entry]) -> None:
    assert isinstance(load_plugin("plain"), Plain)
    assert (entries["plain"].loaded, entries["tables"].loaded) == (1, 0)


@pytest.mark.usefixtures("entries")
def test_a_name_that_nobody_has_installed_comes_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match=r"plugins\.nope: no such plugin is installed \(installed: plain, tables\)"
    ):
        load_plugin("nope")


@pytest.mark.usefixtures("entries")
def test_a_gate_stands_on_the_cores_tables_and_those_of_its_plugins() -> None:
    def sets(*names: str) -> list[Any]:
        config: Any = SimpleNamespace(plugins=dict.fromkeys(names, PluginTable()))
        return migrations_of(config)

    assert sets() == [CORE]
    assert sets("plain", "tables") == [CORE, WithTables.migrations]
