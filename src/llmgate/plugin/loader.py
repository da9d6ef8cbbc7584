"""Plugins: found by entry point, enabled by a table in gate.toml, entered with the gate's services.

A plugin is a class named by an entry point of the group `llmgate.plugins`:

    class Accounts:
        settings = AccountsSettings              # a msgspec.Struct: the keys of [plugins.llmgate_accounts]

        @asynccontextmanager
        async def open(self, settings, gate):    # `gate` is a `Services`
            yield Surface("accounts", operations=[...])

One that has tables of its own names their revisions, too: `migrations = Migrations("accounts", FOLDER)`.
No table, no import.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from ..errors import ConfigError
from ..store import CORE, Migrations

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp, Scope

    from ..config import Config, Network, Route
    from ..config import Upstream as UpstreamSettings
    from ..identity import Identity
    from ..ledger.ledger import Ledger
    from ..ledger.prices import Prices
    from ..ledger.quotas import Quotas
    from ..ledger.reports import Reports
    from ..observability.metrics import PluginMetrics
    from ..proxy.upstreams import Upstream
    from ..ratelimit.leaky_bucket import Buckets
    from ..store import Store
    from ..store.sealed import SealedBox
    from .operation import Surface

GROUP = "llmgate.plugins"

CountOn = Callable[["Scope"], Awaitable[None]]
"""Counts a request on limits that it has not passed. Raises `RateLimited`."""


class Mailer(Protocol):
    """Sends mail (see `kit.mail`)."""

    async def send(self, mail: Any) -> None:
        """Hand a `kit.mail.Mail` over. Raises `MailFailed`, and `BadRequest` for an address that cannot be."""


class HttpClient(Protocol):
    """Hands out the client of `Services.http`."""

    def get(self) -> httpx.AsyncClient:
        """The same one every time."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the core offers to a surface.

    `routes` are the gate's configured routes by name, as ASGI apps without the authentication in front:
    limits, quotas, accounting and the relay. A surface sends a request into one of them after it has put
    the principal into the exchange. `backends` opens what holds upstreams that are not in gate.toml.
    """

    config: Config
    store: Store
    identity: Identity
    ledger: Ledger
    quotas: Quotas
    reports: Reports
    prices: Prices
    upstreams: Mapping[str, Upstream]
    routes: Mapping[str, ASGIApp]
    buckets: Buckets
    http_client: HttpClient
    """See `http`."""
    backends: OpenDynamicUpstreams
    mailer: Mailer
    """Sends mail; without a server in gate.toml each try is a `MailFailed`."""
    sealed_box: SealedBox | None
    """Seals secrets that have to be shown again; None without `sealing_keys` in [store]."""
    count_on: Callable[[str], CountOn]
    """By the name of a group (`PLUGIN.GROUP`): counts a request on the group's [[limits]] as well, once its handler has
    found out that it belongs there. What it returns raises `RateLimited`."""
    metrics: PluginMetrics
    """Makes counters and histograms that `/metrics` shows beside the gate's."""

    @property
    def http(self) -> httpx.AsyncClient:
        """For all that is not the data path: webhooks, for example. Made when a plugin first asks for it."""
        return self.http_client.get()


class DynamicUpstream(Protocol):
    """An upstream added while the gate runs, with the layers of its route around the relay."""

    @property
    def upstream(self) -> Upstream:
        """Its replicas and how they are."""

    @property
    def app(self) -> ASGIApp:
        """Limits, quotas, accounting and the relay, without authentication."""


class DynamicUpstreams(Protocol):
    """Upstreams that are not in gate.toml. `http` asks through the guard of addresses as well."""

    @property
    def http(self) -> httpx.AsyncClient:
        """For probes and lists; not for the data path."""

    async def add(self, name: str, settings: UpstreamSettings, route: Route) -> DynamicUpstream:
        """Serve an upstream called `name` from now on, probed as its `settings` say."""

    async def remove(self, backend: Any) -> None:
        """Forget an upstream that `add` returned. Requests that are under way are answered to their end."""

    async def examine(self, url: str) -> None:
        """Raise `BadRequest` if the server at `url` may not be asked, or sends those who ask elsewhere."""


class OpenDynamicUpstreams(Protocol):
    """Opens `DynamicUpstreams` for this gate."""

    def __call__(self, *, allowed: Sequence[Network] = ()) -> AbstractAsyncContextManager[DynamicUpstreams]:
        """They last as long as the context. In the networks of `allowed`, every address may be asked."""


class Plugin(Protocol):
    """What an entry point of the group names."""

    settings: ClassVar[type[msgspec.Struct]]
    migrations: ClassVar[Migrations | None] = None

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


def migrations_of(config: Config) -> list[Migrations]:
    """The revisions of every table that a gate of `config` stands on: the core's and its plugins'."""
    own = (getattr(load_plugin(name), "migrations", None) for name in config.plugins)
    return [CORE, *(migrations for migrations in own if migrations is not None)]
