"""Plugins: found by entry point, enabled by a table in gate.toml, entered with the gate's services.

A plugin is a class named by an entry point of the group `llmgate.plugins`:

    class Accounts:
        settings = AccountsSettings              # a msgspec.Struct: the keys of [plugins.llmgate_accounts]

        @asynccontextmanager
        async def open(self, settings, gate):    # `gate` is a `Services`
            yield Surface("accounts", operations=[...])

No table, no import.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from .errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .config import Config
    from .identity import Identity
    from .ledger.ledger import Ledger
    from .ledger.quotas import Quotas
    from .ledger.reports import Reports
    from .proxy.upstreams import Upstream
    from .store import Store
    from .surface import Surface

GROUP = "llmgate.plugins"


@dataclass(frozen=True, slots=True)
class Services:
    """What the core offers to a surface.

    `routes` are the gate's configured routes by name, as ASGI apps without the authentication in front:
    limits, quotas, accounting and the relay. A surface sends a request into one of them after it has put
    the principal into the exchange.
    """

    config: Config
    store: Store
    identity: Identity
    ledger: Ledger
    quotas: Quotas
    reports: Reports
    upstreams: Mapping[str, Upstream]
    routes: Mapping[str, ASGIApp]


class Plugin(Protocol):
    """What an entry point of the group names."""

    settings: ClassVar[type[msgspec.Struct]]

    def open(self, settings: Any, gate: Services) -> AbstractAsyncContextManager[Surface]:
        """The surface, for as long as the context lasts. Raises `ConfigError` for settings that do not fit."""


def load_plugin(name: str) -> Plugin:
    """The plugin that is installed under `name`. Raises `ConfigError` naming those that are."""
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise ConfigError([f"plugins.{name}: no such plugin is installed (installed: {known})"])
    plugin: type[Plugin] = installed[name].load()
    return plugin()
