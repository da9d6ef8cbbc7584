"""What is served at which address: routes, operations of plugins, probes and documentation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..config import Address, Config
from ..errors import ConfigError
from ..observability.probes import Alive, InnerMetrics, Ready, Scrape
from ..proxy.asgi_upstream import ORIGIN
from .application import Application
from .mounts import GateRoute
from .plugin_stack import plugin_routes
from .router import not_found, wrong_host
from .stack import allowed_hosts, front, proxy_headers, wrap
from .upstreams import health_path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Name
    from ..plugin.loader import Services
    from ..plugin.operation import Surface
    from .mounts import ProxyMount
    from .runtime import Runtime

DOCS = "the gate's documentation (`docs = false` in [gate] turns it off)"

Routes = dict[Address, list["BaseRoute"]]


def applications_of(
    config: Config,
    runtime: Runtime,
    services: Services,
    surfaces: Mapping[Name, Surface],
    mounts: Sequence[ProxyMount],
) -> dict[Address, Application]:
    """The application of each address. Raises `ConfigError` with every clash."""
    routes: Routes = defaultdict(list)
    for name in surfaces:
        for address in _addresses(config, config.plugins[name].listen):
            routes[address] += plugin_routes(
                config, runtime, services.identity, surfaces, name=name, address=address
            )
    for mount in mounts:
        for address in _addresses(config, mount.settings.listen):
            routes[address].append(mount)
    _add_probes(config, runtime, services, routes)
    if config.gate.docs and surfaces:
        _add_docs(config, runtime, services, surfaces, routes)
    misdirected = wrap(wrong_host, front(config, runtime, services.identity))
    problems = [*_unknown_groups(config, surfaces)]
    applications = {}
    for address, claims in routes.items():
        try:
            around = [*allowed_hosts(config, address, misdirected), *proxy_headers(config)]
            lost = _lost(config, runtime, services, surfaces, address)
            applications[address] = Application(claims, default=lost, middleware=around)
        except ConfigError as error:
            problems += [f"{problem} (on {address})" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return applications


def _lost(
    config: Config, runtime: Runtime, services: Services, surfaces: Mapping[Name, Surface], address: Address
) -> ASGIApp:
    """What answers where no route does: what begins as a surface's paths do, in that surface's words."""
    plain = wrap(not_found, front(config, runtime, services.identity))
    beginnings: dict[str, ASGIApp] = {}
    for name, surface in surfaces.items():
        table = config.plugins[name]
        if address in _addresses(config, table.listen):
            app = wrap(not_found, front(config, runtime, services.identity, route=name, surface=surface))
            firsts = {operation.path.split("/")[1] for operation in surface.operations}
            beginnings |= {f"{table.prefix}/{first}/": app for first in firsts if "{" not in first}

    async def lost(scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope['path']}/"
        app = next((app for beginning, app in beginnings.items() if path.startswith(beginning)), plain)
        await app(scope, receive, send)

    return lost


def addresses_of(config: Config) -> set[Address]:
    """Every address that this gate listens on."""
    own = [route.listen for route in config.routes]
    own += [plugin.listen for plugin in config.plugins.values()]
    return {*config.gate.listen, *filter(None, [*own, config.metrics.listen])}


def _addresses(config: Config, own: Address | None) -> tuple[Address, ...]:
    return config.gate.listen if own is None else (own,)


def _unknown_groups(config: Config, surfaces: Mapping[Name, Surface]) -> Iterator[str]:
    """Limits for groups of operations that their plugin does not have."""
    for index, limit in enumerate(config.limits):
        for name in limit.routes:
            plugin, dot, group = name.partition(".")
            if not dot or plugin not in surfaces:
                continue
            groups = surfaces[plugin].groups
            if group not in groups:
                known = ", ".join(f"{plugin}.{each}" for each in sorted(groups)) or "none"
                yield f'limits[{index}].routes: no group "{name}" (known: {known})'


def _add_probes(config: Config, runtime: Runtime, services: Services, routes: Routes) -> None:
    """Health and metrics, on every address of the gate unless metrics have one of their own."""
    counted = bool(config.limits) and not runtime.limits.fail_open
    ready = Ready(
        runtime.ledger,
        services.upstreams,
        fail_open=runtime.fail_open,
        limits=runtime.limits.availability if counted else None,
    )
    alive = Alive()
    inner = next((settings for settings in config.upstreams.values() if settings.is_asgi_app), None)
    app_metrics = None if inner is None else InnerMetrics(runtime.http, ORIGIN + config.metrics.path)
    scrape = Scrape(runtime.instruments.text, app_metrics)
    own = config.metrics.listen
    for address in {*config.gate.listen, *([own] if own is not None else [])}:
        probes: dict[str, ASGIApp] = {"/healthz": alive, "/readyz": ready}
        if config.metrics.enabled and (own is None or address == own):
            probes[config.metrics.path] = scrape
        if runtime.inner is not None and inner is not None and (path := health_path_of(inner)) is not None:
            probes[path] = runtime.inner
        routes[address] += [GateRoute(path, app, owner="the gate") for path, app in probes.items()]


def _add_docs(
    config: Config,
    runtime: Runtime,
    services: Services,
    surfaces: Mapping[Name, Surface],
    routes: Routes,
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
    outer = front(config, runtime, services.identity)
    for address, names in plugins.items():
        for path, page in documented[names].items():
            routes[address].append(GateRoute(path, page, owner=DOCS, middleware=outer))
