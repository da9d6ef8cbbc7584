"""The stacks: one list of Starlette's `Middleware` for what is in front of a route, one for what gate.toml puts in it.

`llmgate routes` prints from these lists, and everything that is served is wrapped by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..backends.context_length import ContextLengths
from ..backends.dialect import DIALECTS
from ..backends.model_list import ModelCards
from ..backends.token_counter import TokenCounter
from ..config import Config, Limit, Name, Route, Upstream
from ..errors import ConfigError
from ..middleware import (
    Accounting,
    Authentication,
    BeginExchange,
    Errors,
    FatalParameters,
    MeteredOnly,
    Metrics,
    Models,
    ProxyHeaders,
    Quota,
    RateLimit,
    RequestId,
    StoredResponses,
    ratelimit,
)
from ..plugin.surface_app import own_origin, surface_layers
from ..proxy import upstreams
from ..proxy.asgi_upstream import ORIGIN, AsgiUpstream
from ..proxy.circuit_breaker import BreakerSettings
from ..proxy.engines.base import Timeouts
from ..proxy.health import HealthSettings
from ..proxy.relay import Relay
from .from_config import aliases_of, limit_of, prices_of
from .router import path_pattern

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..identity import Identity
    from ..middleware.authentication import Verifier
    from ..plugin.operation import Surface
    from ..proxy.engines.base import Engine
    from ..proxy.replica import Replicas
    from .runtime import Runtime


METERED = frozenset({"quota", "accounting"})
"""Layers of gate.toml that count what models are made to do."""


class Layer(Middleware):
    """A middleware of a stack; `name` is what gate.toml and `llmgate routes` call it, empty where it always is."""

    def __init__(self, name: str, cls: Any, /, **settings: Any) -> None:
        super().__init__(cls, **settings)
        self.name = name


def wrap(app: ASGIApp, middleware: Iterable[Middleware]) -> ASGIApp:
    """`app` inside of `middleware`, whose first is the outermost, as Starlette has it."""
    for cls, args, settings in reversed([*middleware]):
        app = cls(app, *args, **settings)
    return app


def front(
    config: Config,
    runtime: Runtime,
    identity: Identity,
    *,
    route: str = "-",
    surface: Surface | None = None,
    credentials: Sequence[str] = (),
    required: bool = True,
    roles: Sequence[str] = (),
    verifiers: Sequence[Verifier] = (),
    scope: str | None = None,
    session: bool = False,
) -> list[Middleware]:
    """What stands in front of every route and operation; of authentication only where there are `credentials`.

    `verifiers` know credentials of other kinds than the core's.
    """
    named = {} if surface is None else {"surface": surface.name, "error_shape": surface.error_shape}
    layers: list[Middleware] = [
        Layer("", BeginExchange, route=route, **named),
        *([] if surface is None else surface_layers(surface)),
        Layer("", RequestId),
        Layer(
            "",
            Metrics,
            instruments=runtime.instruments,
            access_log=runtime.access_log if config.gate.access_log else None,
        ),
        Layer("", Errors),
    ]
    if credentials:
        layers.append(
            Layer(
                "authentication",
                Authentication,
                verifiers=[identity.sessions, identity.keys, *verifiers],
                credentials=credentials,
                required=required,
                roles=roles,
                scope=scope,
                session=session,
                on_use=identity.keys.touch,
            )
        )
    if surface is not None:
        layers.append(own_origin(surface))
    return [*layers]


def front_of(
    route: Route, config: Config, runtime: Runtime, identity: Identity, verifiers: Sequence[Verifier] = ()
) -> list[Middleware]:
    """What stands in front of a route of gate.toml."""
    return front(
        config,
        runtime,
        identity,
        route=route.name,
        credentials=route.credentials if route.authentication == "required" else (),
        roles=route.roles,
        verifiers=verifiers,
        scope="models",
    )


def proxy_headers(config: Config) -> list[Middleware]:
    """What stands in front of all routes of an address: who the client is, behind proxies that are trusted."""
    trusted, unix = config.gate.trusted_proxies, config.gate.trust_unix_sockets
    return [Layer("", ProxyHeaders, trusted=trusted, unix_sockets=unix)] if trusted or unix else []


def relay_of(
    route: Route, config: Config, runtime: Runtime, upstream: upstreams.Upstream
) -> Relay | AsgiUpstream:
    """The innermost app of a route: it passes requests on to `upstream`."""
    settings = config.upstreams[route.upstream]
    strip = route.path if route.upstream_path is not None else ""
    put = route.upstream_path or ""
    if runtime.inner is not None and settings.is_asgi_app:
        return AsgiUpstream(runtime.inner, upstream, strip_prefix=strip, upstream_path=put)
    return Relay(
        upstream,
        strip_prefix=strip,
        upstream_path=put,
        forwarded=settings.forwarded,
        own_request_id=DIALECTS[settings.dialect].request_id_must_be_uuid,
        max_body=config.gate.max_body,
    )


def route_middleware(
    route: Route,
    config: Config,
    runtime: Runtime,
    upstream: upstreams.Upstream,
    surfaces: Mapping[Name, Surface],
) -> list[Middleware]:
    """What stands around the relay, inside of authentication. Raises `ConfigError` for unknown layers."""
    settings = config.upstreams[route.upstream]
    aliases, max_body = aliases_of(settings), config.gate.max_body
    layers: list[Middleware] = [
        Layer(
            "", Models, default=route.default_model, aliases=aliases, allowed=route.models, max_body=max_body
        )
    ]
    if any(operation.path == "*" for operation in route.allow) and not METERED.isdisjoint(route.middleware):
        layers.insert(0, Layer("", MeteredOnly, named=_named(route)))
    if not any(operation.path.startswith("/responses/{") for operation in route.allow):
        layers.append(Layer("", StoredResponses))
    if settings.lora:
        layers.append(Layer("", FatalParameters))
    for name in route.middleware:
        match name:
            case "ratelimit":
                layers.append(rate_limit(config, runtime, route.name))
            case "quota":
                layers.append(_quota(route, config, runtime, upstream))
            case "accounting":
                layers.append(_accounting(route, config, runtime))
            case _:
                layers.append(_offered(route, name, surfaces))
    return [*layers, Layer("", ModelCards, aliases=aliases, allowed=route.models)]


def _named(route: Route) -> list[str]:
    """What a route lets through by name, as patterns of whole paths."""
    base = route.path.rstrip("/")
    return [path_pattern(base + each.path).pattern for each in route.allow if each.path != "*"]


def rate_limit(config: Config, runtime: Runtime, *names: str, only_named: bool = False) -> Layer:
    """The layer for those of gate.toml's [[limits]] that are for one of `names`, or, unless `only_named`, for all."""
    return Layer(
        "ratelimit",
        _limited,
        limits=[limit_of(limit) for limit in config.limits if _is_for(limit, names, only_named=only_named)],
        storage=runtime.limits.windows,
        slots=runtime.limits.slots,
        fail_open=runtime.limits.fail_open,
        ipv6_prefix=config.gate.ipv6_prefix,
        clock=runtime.store.clock,
    )


def _is_for(limit: Limit, names: Sequence[str], *, only_named: bool) -> bool:
    return not ({*names}.isdisjoint(limit.routes) if limit.routes else only_named)


def _limited(app: ASGIApp, *, limits: Sequence[ratelimit.Limit], **settings: Any) -> ASGIApp:
    """No layer where there is no limit: it would cost every request something."""
    return RateLimit(app, limits=limits, **settings) if limits else app


def _accounting(route: Route, config: Config, runtime: Runtime) -> Layer:
    return Layer(
        "accounting",
        Accounting,
        ledger=runtime.ledger,
        dialect=DIALECTS[config.upstreams[route.upstream].dialect],
        upstream=route.upstream,
        prices=prices_of(config),
        max_body=config.gate.max_body,
    )


def _quota(route: Route, config: Config, runtime: Runtime, upstream: upstreams.Upstream) -> Layer:
    settings = config.upstreams[route.upstream]
    dialect = DIALECTS[settings.dialect]
    return Layer(
        "quota",
        Quota,
        ledger=runtime.ledger,
        dialect=dialect,
        prices=prices_of(config),
        context_length=settings.context_length,
        context=ContextLengths(upstream, dialect, runtime.http),
        max_output_tokens=settings.max_output_tokens,
        upstream=route.upstream,
        count=TokenCounter(upstream, dialect, runtime.http),
        refused_status=route.quota_status,
        max_body=config.gate.max_body,
    )


def _offered(route: Route, name: str, surfaces: Mapping[Name, Surface]) -> Layer:
    plugin, _, layer = name.partition(".")
    offered = next((surface.middleware for name, surface in surfaces.items() if name == plugin), {})
    if layer not in offered:
        known = ["ratelimit", "quota", "accounting"]
        known += [f"{plugin}.{layer}" for plugin, surface in surfaces.items() for layer in surface.middleware]
        raise ConfigError(
            [f'routes: {route.name}: middleware: there is no "{name}" (known: {", ".join(known)})']
        )
    return Layer(name, offered[layer])


def upstream_of(
    name: str, settings: Upstream, engine: Engine, known: Replicas | None = None
) -> upstreams.Upstream:
    """An upstream as `settings` describe it, on `engine`; `known` are the replicas of the process."""
    return upstreams.Upstream(
        name,
        [ORIGIN] if settings.is_asgi_app else settings.urls,
        engine=engine,
        timeouts=Timeouts(
            settings.connect_timeout,
            settings.first_byte_timeout,
            settings.idle_timeout,
            settings.heartbeat_interval,
        ),
        api_key=settings.api_key.reveal() if settings.api_key is not None else None,
        api_key_header=settings.api_key_header,
        headers={name: value.reveal() for name, value in settings.headers.items()},
        models=aliases_of(settings),
        breaker=BreakerSettings(
            settings.breaker.failures, settings.breaker.open_for, frozenset(settings.breaker.statuses)
        ),
        retry_statuses=settings.retry_statuses,
        known=known,
        dialect=DIALECTS[settings.dialect],
    )


def health_of(settings: Upstream) -> HealthSettings | None:
    """How the replicas of an upstream are probed; None if they are not."""
    health, path = settings.health, health_path_of(settings)
    if not health.enabled or path is None:
        return None
    return HealthSettings(path, health.interval, health.timeout, health.rise, health.fall)


def health_path_of(settings: Upstream) -> str | None:
    """Where an upstream says how it is; None if it is not known to."""
    return settings.health.path or DIALECTS[settings.dialect].health_path
