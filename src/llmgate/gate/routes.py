"""What is served at which address: routes, operations of plugins, probes and documentation, in one table each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..config import Address, Config
from ..errors import ConfigError
from ..observability.probes import Alive, InnerMetrics, Ready, Scrape
from ..plugin.operation import OperationApp, Surface
from ..proxy.asgi_upstream import ORIGIN
from .router import Entry, Table
from .stack import health_path_of, outer, rate_limit

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..config import Name, Route
    from ..plugin.loader import Services
    from .runtime import Runtime

DOCS = "the gate's documentation (`docs = false` in [gate] turns it off)"


def tables_of(
    config: Config, runtime: Runtime, services: Services, surfaces: Mapping[Name, Surface]
) -> dict[Address, Table]:
    """The table of each address. Raises `ConfigError` with every clash."""
    entries: defaultdict[Address, list[Entry]] = defaultdict(list)
    for name, surface in surfaces.items():
        table = config.plugins[name]
        for address in _addresses(config, table.listen):
            entries[address] += _operations(config, runtime, services, name, surface)
    for index, route in enumerate(config.routes):
        app = outer(
            services.routes[route.name],
            config,
            runtime,
            services.identity,
            credentials=route.credentials if route.authentication == "required" else (),
            required=True,
            roles=route.roles,
        )
        for address in _addresses(config, route.listen):
            entries[address] += _allowed(route, app, f"routes[{index}]")
    _add_probes(config, runtime, services, entries)
    if config.gate.docs and surfaces:
        _add_docs(config, runtime, services, surfaces, entries)
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


def _operations(
    config: Config, runtime: Runtime, services: Services, name: Name, surface: Surface
) -> list[Entry]:
    prefix = config.plugins[name].prefix
    entries = []
    for operation in surface.operations:
        app = operation.app or OperationApp(operation)
        if operation.app is None:  # an app of its own sends requests into a route, which has its limits
            app = rate_limit(app, config.limits, runtime, name)
        app = outer(
            app,
            config,
            runtime,
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


def _add_probes(
    config: Config, runtime: Runtime, services: Services, entries: dict[Address, list[Entry]]
) -> None:
    """Health and metrics, on every address of the gate unless metrics have one of their own."""
    counted = bool(config.limits) and not runtime.limits_fail_open
    ready = Ready(
        runtime.ledger,
        services.upstreams,
        fail_open=runtime.fail_open,
        limits=runtime.limits_availability if counted else None,
    )
    alive = Alive()
    inner = next((settings for settings in config.upstreams.values() if settings.is_asgi_app), None)
    app_metrics = None if inner is None else InnerMetrics(runtime.http, ORIGIN + config.metrics.path)
    scrape = Scrape(runtime.instruments.registry, app_metrics)
    own = config.metrics.listen
    for address in {*config.gate.listen, *([own] if own is not None else [])}:
        probes: dict[str, ASGIApp] = {"/healthz": alive, "/readyz": ready}
        if config.metrics.enabled and (own is None or address == own):
            probes[config.metrics.path] = scrape
        if runtime.inner is not None and inner is not None and (path := health_path_of(inner)) is not None:
            probes[path] = runtime.inner
        entries[address] += [Entry("GET", path, app, "-", "the gate") for path, app in probes.items()]


def _add_docs(
    config: Config,
    runtime: Runtime,
    services: Services,
    surfaces: Mapping[Name, Surface],
    entries: dict[Address, list[Entry]],
) -> None:
    """The documentation of the surfaces, on each address that has one: a page can only try what is on its own."""
    from ..plugin.openapi import Section, pages  # noqa: PLC0415 - a gate without surfaces needs none of it

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
            app = outer(page, config, runtime, services.identity, credentials=(), required=False, roles=())
            entries[address].append(Entry("GET", path, app, "-", DOCS))
