"""The composition root: gate.toml in, a gate out.

async with open_runtime(config) as runtime:              # for as long as the process runs
    async with open_gate(config, runtime) as gate:       # until the next reload
        gate.apps[address]                               # one Starlette application for each address to listen on
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..background import repeat, running
from ..config import Address, Config, convert_table
from ..errors import StoreError
from ..identity import Identity
from ..ledger import Quotas, Reports
from ..observability.metrics import PluginMetrics
from ..observability.reconcile import comparing
from ..plugin.loader import Services, load_plugin, migrations_of
from ..store.migrations import check
from .dynamic_upstreams import open_dynamic_upstreams
from .from_config import defaults_of, known_models, prices_of
from .mounts import ProxyMount
from .open_upstreams import check_inner, open_upstreams, watch_upstreams
from .plugin_stack import count_on, verifiers_of
from .route_stack import relay_of, route_middleware
from .routes import addresses_of, applications_of
from .runtime import Runtime
from .services import identity_of, mailer_of, sealed_box_of
from .stack import front_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Name, PluginTable
    from ..plugin.operation import Surface
    from .application import Application

log = logging.getLogger("llmgate")

FLUSH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A gate as gate.toml describes it: a Starlette application for each address."""

    config: Config
    apps: Mapping[Address, Application]
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

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        assert self.app is not None, "plugins send requests only once the gate is open"
        return self.app(scope, receive, send)


@asynccontextmanager
async def open_gate(config: Config, runtime: Runtime, *, watch: bool = True) -> AsyncIterator[Gate]:
    """Build the gate that `config` describes. Raises `ConfigError` with every clash and misfit found.

    Without `watch` nobody is asked anything: neither health nor models nor counters of the upstreams.
    """
    async with AsyncExitStack() as stack:
        check_inner(config, runtime)
        upstreams = await open_upstreams(config, runtime, stack)
        identity = identity_of(config, runtime.store)
        await stack.enter_async_context(_flushing(runtime, identity))
        reports = Reports(runtime.store)
        late = {route.name: _LateApp() for route in config.routes}
        services = Services(
            config=config,
            store=runtime.store,
            identity=identity,
            ledger=runtime.ledger,
            quotas=Quotas(runtime.store, defaults_of(config)),
            reports=reports,
            prices=prices_of(config),
            upstreams=upstreams,
            routes=late,
            buckets=runtime.limits.buckets,
            http_client=runtime.http_client,
            backends=partial(open_dynamic_upstreams, config, runtime, addresses_of(config)),
            mailer=mailer_of(config),
            sealed_box=sealed_box_of(config),
            count_on=partial(count_on, config, runtime),
            metrics=PluginMetrics(runtime.instruments),
        )
        async with runtime.store.connect() as db:
            await check(db, *migrations_of(config)[1:])
        surfaces = {
            name: await _open_plugin(name, table, services, stack) for name, table in config.plugins.items()
        }
        mounts = []
        for index, route in enumerate(config.routes):
            mount = ProxyMount(
                route,
                relay_of(route, config, runtime, upstreams),
                owner=f"routes[{index}]",
                front=front_of(route, config, runtime, identity, verifiers_of(surfaces)),
                middleware=route_middleware(route, config, runtime, upstreams, surfaces),
            )
            late[route.name].app = mount.service
            mounts.append(mount)
        apps = applications_of(config, runtime, services, surfaces, mounts)
        # Nothing can fail any more: only now is the file in force for what outlives this gate.
        runtime.ledger.set_defaults(defaults_of(config))
        runtime.instruments.watch(
            runtime.ledger, upstreams.values(), known_models(config), runtime.limits.availability
        )
        if watch:
            await watch_upstreams(config, upstreams, stack)
            await stack.enter_async_context(comparing(config, upstreams, reports, runtime.instruments))
        yield Gate(config, apps, services)


@asynccontextmanager
async def _flushing(runtime: Runtime, identity: Identity) -> AsyncIterator[None]:
    """Write down now and then what is collected in memory: uses of keys, the access log, the state for metrics."""

    async def flush() -> None:
        runtime.access_log.flush()
        runtime.instruments.refresh()
        try:
            await identity.keys.flush()
        except StoreError as error:
            log.warning("uses of keys are not written yet: %s", error)

    try:
        async with running(repeat(flush, FLUSH_INTERVAL_S), name="llmgate-flush"):
            yield
    finally:
        await flush()


async def _open_plugin(name: Name, table: PluginTable, services: Services, stack: AsyncExitStack) -> Surface:
    plugin = load_plugin(name)
    settings = convert_table(plugin.settings, table.settings, f"plugins.{name}")
    return await stack.enter_async_context(plugin.open(settings, services))
