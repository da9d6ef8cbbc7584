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

import httpx

from ..backends.dialect import DIALECTS
from ..background import repeat, running
from ..config import ASGI_APP, Address, Config, convert_table
from ..errors import ConfigError, StoreError
from ..identity import Identity, PasswordRules
from ..ledger import Quotas, Reports
from ..observability.metrics import PluginMetrics
from ..observability.reconcile import comparing
from ..plugin.loader import Services, load_plugin, migrations_of
from ..proxy.engines.httptools_engine import HttptoolsEngine
from ..proxy.engines.httpx_engine import HttpxEngine
from ..proxy.engines.transport import EngineTransport
from ..proxy.health import HealthChecks
from ..proxy.model_names import ModelNames
from ..store.migrations import check
from .dynamic_upstreams import open_dynamic_upstreams
from .from_config import defaults_of, known_models, prices_of
from .mounts import ProxyMount
from .plugin_stack import verifiers_of
from .route_stack import relay_of, route_middleware
from .routes import addresses_of, applications_of
from .runtime import Runtime
from .stack import front_of
from .upstreams import health_of, upstream_of

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Name, PluginTable, SecretUrl
    from ..config import Upstream as UpstreamSettings
    from ..plugin.kit.mail import Mailer
    from ..plugin.operation import Surface
    from ..proxy.engines.base import Engine
    from ..proxy.upstreams import Upstream
    from ..store import Store
    from ..store.sealed import SealedBox
    from .application import Application

log = logging.getLogger("llmgate")

FLUSH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
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
        _check_inner(config, runtime)
        upstreams = await _open_upstreams(config, runtime, stack)
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
            http=runtime.http,
            backends=partial(open_dynamic_upstreams, config, runtime, addresses_of(config)),
            mailer=_mailer_of(config),
            sealed_box=_sealed_box_of(config),
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
            await _watch_upstreams(config, upstreams, runtime, stack)
            await stack.enter_async_context(comparing(config, reports, runtime.http, runtime.instruments))
        yield Gate(config, apps, services)


class _Unasked:
    """The mailer of a gate without plugins, which nobody can ask."""

    async def send(self, mail: object) -> None:
        """See `Mailer`."""
        raise ConfigError(["mail: there is no mail server: write url and from in [mail]"])


def _mailer_of(config: Config) -> Mailer:
    """What sends mail, as [mail] says. Raises `ConfigError`."""
    mail = config.mail
    if not config.plugins and mail.url is None:
        return _Unasked()  # the real one loads all that plugins may use
    from ..plugin.kit.mail import NoMailer, SmtpMailer  # noqa: PLC0415 - for plugins alone

    if mail.url is None:
        return NoMailer()
    try:
        return SmtpMailer.at(mail.url.reveal(), sender=mail.sender, timeout=mail.timeout)
    except ValueError as error:
        raise ConfigError([f"mail: {error}"]) from error


def _sealed_box_of(config: Config) -> SealedBox | None:
    """What seals secrets, if there are keys for it. Raises `ConfigError`."""
    if not config.store.sealing_keys:
        return None
    from ..store.sealed import SealedBox  # noqa: PLC0415 - 9 MB that a gate without secrets to show need not spend

    try:
        return SealedBox(key.reveal() for key in config.store.sealing_keys)
    except ValueError as error:
        raise ConfigError([f"store.sealing_keys: {error}"]) from error


def _check_inner(config: Config, runtime: Runtime) -> None:
    """An upstream that is the app around which the gate is put needs such an app."""
    if runtime.inner is None:
        what = (
            "is the app that llmgate.gate.embed.Gate is put around; here is none: write the URL of a server"
        )
        inner = [name for name, upstream in config.upstreams.items() if upstream.is_asgi_app]
        if inner:
            raise ConfigError([f'upstreams.{name}.urls: "{ASGI_APP}" {what}' for name in inner])


async def _watch_upstreams(
    config: Config, upstreams: Mapping[str, Upstream], runtime: Runtime, stack: AsyncExitStack
) -> None:
    """Ask the upstreams how they are and what they serve, by the settings that are in force from now on."""
    probed = {}
    for name, settings in config.upstreams.items():
        upstreams[name].take_over()
        if (health := health_of(settings)) is not None:
            probed[upstreams[name]] = health
        else:  # nobody would bring back what was taken out under other settings
            for replica in upstreams[name].replicas:
                replica.bring_back()
    await stack.enter_async_context(HealthChecks(probed, http=runtime.http))
    asked = {
        upstreams[name]: DIALECTS[settings.dialect].models_path
        for name, settings in config.upstreams.items()
        if settings.list_models
    }
    await stack.enter_async_context(ModelNames(asked, http=runtime.http))


async def _open_upstreams(config: Config, runtime: Runtime, stack: AsyncExitStack) -> dict[str, Upstream]:
    engines: dict[tuple[str, Path | None, SecretUrl | None], Engine] = {}
    upstreams = {}
    for name, settings in config.upstreams.items():
        kind = settings.engine, settings.ca_file, settings.proxy
        if kind not in engines:
            engines[kind] = _engine_of(settings)
            stack.push_async_callback(engines[kind].aclose)
        workers = config.gate.workers
        upstreams[name] = upstream_of(
            name, settings, engines[kind], runtime.replicas, runtime.admissions, workers=workers
        )
        if settings.ca_file is not None or settings.proxy is not None:
            own = httpx.AsyncClient(transport=EngineTransport(engines[kind]), trust_env=False)
            upstreams[name].http = await stack.enter_async_context(own)
    return upstreams


def _engine_of(settings: UpstreamSettings) -> Engine:
    if settings.engine == "httptools":
        return HttptoolsEngine(ca_file=settings.ca_file)
    proxy = None if settings.proxy is None else settings.proxy.reveal()
    return HttpxEngine(ca_file=settings.ca_file, proxy=proxy)


def identity_of(config: Config, store: Store) -> Identity:
    """The services of identity over `store`, by the rules of gate.toml."""
    return Identity.over(
        store,
        passwords=PasswordRules(config.passwords.min_length, config.passwords.max_bytes),
        lifetime=config.sessions.lifetime,
        algorithm=config.sessions.algorithm,
        max_age=config.sessions.max_age,
        issuer=config.sessions.issuer,
    )


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
