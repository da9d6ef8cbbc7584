"""The composition root: gate.toml in, a gate out.

async with open_core(config) as core:              # for as long as the process runs
    async with open_gate(config, core) as gate:    # until the next reload
        gate.apps[address]                         # one ASGI app for each address to listen on
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .apidocs import Section, pages
from .backends import open_backends
from .config import INNER_APP, Address, Config, convert_table
from .core import Core
from .entrance import Entrance, nowhere
from .errors import ConfigError, StoreError
from .identity import Identity, PasswordRules
from .ledger import Quotas, Reports
from .onion import health_of, health_path_of, outer, rate_limit, route_app, upstream_of
from .plugin import Services, load_plugin, migrations_of
from .probes import Alive, InnerMetrics, Ready, Scrape
from .proxy.health import HealthChecks
from .proxy.httptools_engine import HttptoolsEngine
from .proxy.httpx_engine import HttpxEngine
from .proxy.inner import ORIGIN
from .reconcile import comparing
from .routing import Entry, Table
from .store.migrations import check
from .surface import OperationApp, Surface
from .translate import defaults_of, known_models, prices_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from .config import Name, PluginTable, Route
    from .proxy.engine import Engine
    from .proxy.upstreams import Upstream
    from .store import Store

log = logging.getLogger("llmgate")

FLUSH_EVERY = 1.0
DOCS = "the gate's documentation (`docs = false` in [gate] turns it off)"


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate as gate.toml describes it: an ASGI app, and the table behind it, for each address."""

    config: Config
    apps: Mapping[Address, Entrance]
    services: Services

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return sum(app.in_flight for app in self.apps.values())

    async def drained(self) -> None:
        """Returns once the requests that are being answered now have ended."""
        await asyncio.gather(*(app.drained() for app in self.apps.values()))


class _LateApp:
    """Stands for a route until it is built: plugins are handed the routes before they offer layers for them."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "plugins send requests only once the gate is open"
        await self.app(scope, receive, send)


@asynccontextmanager
async def open_gate(config: Config, core: Core) -> AsyncIterator[Gate]:
    """Build the gate that `config` describes. Raises `ConfigError` with every clash and misfit found."""
    async with AsyncExitStack() as stack:
        _check_inner(config, core)
        upstreams = await _open_upstreams(config, stack)
        probed = {
            upstreams[name]: health
            for name, settings in config.upstreams.items()
            if (health := health_of(settings)) is not None
        }
        await stack.enter_async_context(HealthChecks(probed, http=core.http))
        identity = identity_of(config, core.store)
        await stack.enter_async_context(_flushing(core, identity))
        reports = Reports(core.store)
        await stack.enter_async_context(comparing(config, reports, core.http, core.instruments))
        late = {route.name: _LateApp() for route in config.routes}
        services = Services(
            config=config,
            store=core.store,
            identity=identity,
            ledger=core.ledger,
            quotas=Quotas(core.store, defaults_of(config)),
            reports=reports,
            prices=prices_of(config),
            upstreams=upstreams,
            routes=late,
            buckets=core.buckets,
            http=core.http,
            backends=partial(open_backends, config, core, addresses_of(config)),
        )
        async with core.store.connect() as db:
            await check(db, *migrations_of(config)[1:])
        surfaces = {
            name: await _open_plugin(name, table, services, stack) for name, table in config.plugins.items()
        }
        for route in config.routes:
            late[route.name].app = route_app(route, config, core, upstreams[route.upstream], surfaces)
        tables = _tables(config, core, services, surfaces)
        lost = outer(nowhere, config, core, identity, credentials=(), required=False, roles=())
        trusted = config.gate.trusted_proxies
        apps = {
            address: Entrance(table, nowhere=lost, trusted_proxies=trusted)
            for address, table in tables.items()
        }
        # Nothing can fail any more: only now is the file in force for what outlives this gate.
        core.ledger.set_defaults(defaults_of(config))
        core.instruments.watch(core.ledger, upstreams.values(), known_models(config))
        yield Gate(config, apps, services)


def _check_inner(config: Config, core: Core) -> None:
    """An upstream that is the app around which the gate is put needs such an app."""
    if core.inner is None:
        what = "is the app that llmgate.embed.Gate is put around; here is none: write the URL of a server"
        inner = [name for name, upstream in config.upstreams.items() if upstream.is_inner]
        if inner:
            raise ConfigError([f'upstreams.{name}.urls: "{INNER_APP}" {what}' for name in inner])


async def _open_upstreams(config: Config, stack: AsyncExitStack) -> dict[str, Upstream]:
    engines: dict[str, Engine] = {}
    for settings in config.upstreams.values():
        if settings.engine not in engines:
            engine: Engine = HttptoolsEngine() if settings.engine == "httptools" else HttpxEngine()
            engines[settings.engine] = engine
            stack.push_async_callback(engine.aclose)
    return {
        name: upstream_of(name, settings, engines[settings.engine])
        for name, settings in config.upstreams.items()
    }


def identity_of(config: Config, store: Store) -> Identity:
    """The services of identity over `store`, by the rules of gate.toml."""
    return Identity.over(
        store,
        passwords=PasswordRules(config.passwords.min_length, config.passwords.max_bytes),
        lifetime=config.sessions.lifetime,
        algorithm=config.sessions.algorithm,
        issuer=config.sessions.issuer,
    )


@asynccontextmanager
async def _flushing(core: Core, identity: Identity) -> AsyncIterator[None]:
    """Write down now and then what is collected in memory: uses of keys, the access log, the state for metrics."""

    async def flush() -> None:
        core.access_log.flush()
        core.instruments.refresh()
        try:
            await identity.keys.flush()
        except StoreError as error:
            log.warning("uses of keys are not written yet: %s", error)

    async def flush_often() -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await flush()

    task = asyncio.create_task(flush_often(), name="llmgate-flush")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await flush()


async def _open_plugin(name: Name, table: PluginTable, services: Services, stack: AsyncExitStack) -> Surface:
    plugin = load_plugin(name)
    settings = convert_table(plugin.settings, table.settings, f"plugins.{name}")
    return await stack.enter_async_context(plugin.open(settings, services))


def _tables(
    config: Config, core: Core, services: Services, surfaces: Mapping[Name, Surface]
) -> dict[Address, Table]:
    entries: defaultdict[Address, list[Entry]] = defaultdict(list)
    for name, surface in surfaces.items():
        table = config.plugins[name]
        for address in _addresses(config, table.listen):
            entries[address] += _operations(config, core, services, name, surface)
    for index, route in enumerate(config.routes):
        app = outer(
            services.routes[route.name],
            config,
            core,
            services.identity,
            credentials=route.credentials if route.authentication == "required" else (),
            required=True,
            roles=route.roles,
        )
        for address in _addresses(config, route.listen):
            entries[address] += _allowed(route, app, f"routes[{index}]")
    _add_probes(config, core, services, entries)
    if config.gate.docs:
        _add_docs(config, core, services, surfaces, entries)
    problems: list[str] = []
    tables = {}
    for address, claims in entries.items():
        try:
            tables[address] = Table(claims)
        except ConfigError as error:
            problems += [f"{problem} (on {address})" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return tables


def addresses_of(config: Config) -> set[Address]:
    """Every address that this gate listens on."""
    own = [route.listen for route in config.routes]
    own += [plugin.listen for plugin in config.plugins.values()]
    return {*config.gate.listen, *filter(None, [*own, config.metrics.listen])}


def _addresses(config: Config, own: Address | None) -> tuple[Address, ...]:
    return config.gate.listen if own is None else (own,)


def _operations(config: Config, core: Core, services: Services, name: Name, surface: Surface) -> list[Entry]:
    prefix = config.plugins[name].prefix
    entries = []
    for operation in surface.operations:
        app = operation.app or OperationApp(operation)
        if operation.app is None:  # an app of its own sends requests into a route, which has its limits
            app = rate_limit(app, config.limits, core, name)
        app = outer(
            app,
            config,
            core,
            services.identity,
            credentials=operation.credentials,
            required=operation.required,
            roles=operation.roles,
        )
        path, owner = prefix + operation.path, f"plugins.{name}"
        entries.append(Entry(operation.method, path, app, name, owner, surface.name, surface.error_shape))
    return entries


def _allowed(route: Route, app: ASGIApp, owner: str) -> list[Entry]:
    base = "" if route.path == "/" else route.path
    entries = []
    for operation in route.allow:
        path = f"{base}/{{rest:path}}" if operation.path == "*" else base + operation.path
        entries.append(Entry(operation.method, path, app, route.name, owner))
    return entries


def _add_probes(config: Config, core: Core, services: Services, entries: dict[Address, list[Entry]]) -> None:
    """Health and metrics, on every address of the gate unless metrics have one of their own."""
    alive, ready = Alive(), Ready(core.ledger, services.upstreams, fail_open=core.fail_open)
    inner = next((settings for settings in config.upstreams.values() if settings.is_inner), None)
    app_metrics = None if inner is None else InnerMetrics(core.http, ORIGIN + config.metrics.path)
    scrape = Scrape(core.instruments.registry, app_metrics)
    own = config.metrics.listen
    for address in {*config.gate.listen, *([own] if own is not None else [])}:
        probes: dict[str, ASGIApp] = {"/healthz": alive, "/readyz": ready}
        if config.metrics.enabled and (own is None or address == own):
            probes[config.metrics.path] = scrape
        if core.inner is not None and inner is not None and (path := health_path_of(inner)) is not None:
            probes[path] = core.inner
        entries[address] += [Entry("GET", path, app, "-", "the gate") for path, app in probes.items()]


def _add_docs(
    config: Config,
    core: Core,
    services: Services,
    surfaces: Mapping[Name, Surface],
    entries: dict[Address, list[Entry]],
) -> None:
    """The documentation of the surfaces, on each address that has one: a page can only try what is on its own."""
    plugins: defaultdict[Address, tuple[Name, ...]] = defaultdict(tuple)
    for name, table in config.plugins.items():
        for address in _addresses(config, table.listen):
            plugins[address] += (name,)
    documented = {
        names: pages([Section(surfaces[name], config.plugins[name].prefix) for name in names])
        for names in set(plugins.values())
    }
    for address, names in plugins.items():
        for path, page in documented[names].items():
            app = outer(page, config, core, services.identity, credentials=(), required=False, roles=())
            entries[address].append(Entry("GET", path, app, "-", DOCS))
