"""The stacks: one list of Starlette's `Middleware` for what is in front of a route, one for what gate.toml puts in it.

`llmgate routes` prints from these lists, and everything that is served is wrapped by them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..backends.catalog import Catalog
from ..backends.context_length import ContextLengths
from ..backends.dialect import DIALECTS
from ..backends.model_list import ModelCards
from ..backends.serving import Serving
from ..backends.token_counter import TokenCounter
from ..config import Address, Config, Limit, Name, Route, Upstream
from ..errors import ConfigError
from ..middleware import (
    Accounting,
    AllowedHosts,
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
    ReadBody,
    RequestId,
    StoredResponses,
    ratelimit,
)
from ..middleware.allowed_hosts import LOCAL_NAMES
from ..plugin.cross_origin import Cors, NoOptions
from ..plugin.surface_app import own_origin, surface_layers
from ..proxy import upstreams
from ..proxy.asgi_upstream import ORIGIN, AsgiUpstream
from ..proxy.circuit_breaker import BreakerSettings
from ..proxy.engines.base import Timeouts
from ..proxy.health import HealthSettings
from ..proxy.relay import Outlet, Relay
from .from_config import aliases_of, billable_by, entries_of, limit_of, prices_of
from .router import path_pattern

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..identity import Identity
    from ..middleware.authentication import Verifier
    from ..plugin.operation import Surface
    from ..proxy.engines.base import Engine
    from ..proxy.replica import Replicas
    from ..store import Store
    from .runtime import Runtime


METERED = frozenset({"quota", "accounting"})
"""Layers of gate.toml that count what models are made to do."""


READABLE = (
    "retry-after",
    "x-gate-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
"""Headers of answers that pages of other origins may read."""


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
    cors = Cors(route.cors_origins, credentials=False, exposed=READABLE) if route.cors_origins else None
    return [
        *([] if cors is None else [cors.middleware, Layer("", NoOptions)]),
        *_front_of(route, config, runtime, identity, verifiers),
    ]


def _front_of(
    route: Route, config: Config, runtime: Runtime, identity: Identity, verifiers: Sequence[Verifier]
) -> list[Middleware]:
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


def allowed_hosts(config: Config, address: Address, refused: ASGIApp) -> list[Middleware]:
    """What judges the names by which an address is asked. Any name will do where gate.toml names none, except at a
    loopback address: only this machine reaches it, and with it every web page that is open there."""
    hosts = config.gate.hosts
    if hosts:
        return [] if "*" in hosts else [Layer("", AllowedHosts, hosts=hosts, refused=refused)]
    if not address.is_loopback:
        return []
    return [Layer("", AllowedHosts, hosts=LOCAL_NAMES, bare=True, refused=refused)]


Upstreams = Mapping[Name, upstreams.Upstream]


def relay_of(route: Route, config: Config, runtime: Runtime, served: Upstreams) -> Relay | AsgiUpstream:
    """The innermost app of a route: it passes requests on to one of its upstreams."""
    first = route.served_by[0]
    settings, upstream = config.upstreams[first], served[first]
    strip = route.path if route.upstream_path is not None else ""
    put = route.upstream_path or ""
    if runtime.inner is not None and settings.is_asgi_app:
        return AsgiUpstream(runtime.inner, upstream, strip_prefix=strip, upstream_path=put)
    outlets = {
        name: Outlet(
            served[name],
            forwarded=config.upstreams[name].forwarded,
            own_request_id=served[name].dialect.request_id_must_be_uuid,
        )
        for name in route.served_by
    }
    return Relay(
        upstream,
        strip_prefix=strip,
        upstream_path=put,
        forwarded=outlets[first].forwarded,
        own_request_id=outlets[first].own_request_id,
        others=outlets,
        max_body=config.gate.max_body,
        via=via_of(runtime.store),
    )


def catalog_of(route: Route, config: Config, served: Upstreams) -> Catalog | None:
    """The models of a route, where the model decides where a request goes."""
    entries = entries_of(config, route.served_by)
    if len(route.served_by) == 1 and not entries:
        return None

    def lists(name: str) -> Collection[str] | None:
        return served[name].model_names or None

    return Catalog(
        route.served_by,
        models=entries,
        aliases={name: aliases_of(config.upstreams[name]) for name in route.served_by},
        live=lists,
        is_up=lambda name: served[name].any_ready() is not None,
        changed=lambda: sum(served[name].lists_read for name in route.served_by),
    )


def via_of(store: Store) -> bytes:
    """By which name this gate is told from others in Via: one of its host and store, which tells neither."""
    what = f"{socket.gethostname()} {store.url.render_as_string(hide_password=True)}"
    return b"llmgate-" + blake2s(what.encode(), digest_size=6).hexdigest().encode()


def route_middleware(
    route: Route, config: Config, runtime: Runtime, served: Upstreams, surfaces: Mapping[Name, Surface]
) -> list[Middleware]:
    """What stands around the relay, inside of authentication. Raises `ConfigError` for unknown layers."""
    catalog = catalog_of(route, config, served)
    aliases = aliases_of(config.upstreams[route.served_by[0]]) if catalog is None else {}
    named = [_layer(name, route, config, runtime, served, surfaces) for name in route.middleware]
    unread = _before_the_body(route.middleware)
    checks: list[Middleware] = []
    if any(operation.path == "*" for operation in route.allow) and not METERED.isdisjoint(route.middleware):
        checks.append(Layer("", MeteredOnly, named=_named(route)))
    if not any(operation.path.startswith("/responses/{") for operation in route.allow):
        checks.append(Layer("", StoredResponses))
    if any(config.upstreams[name].lora for name in route.served_by):
        checks.append(Layer("", FatalParameters))
    return [
        *named[:unread],
        Layer(
            "",
            ReadBody,
            max_body=config.gate.max_body,
            budget=runtime.body_budget,
            limit=config.gate.body_budget,
            caller_limit=config.gate.body_budget_per_key,
        ),
        Layer(
            "",
            Models,
            default=route.default_model,
            aliases=aliases,
            allowed=route.models,
            catalog=catalog,
            busy=lambda name: served[name].busy,
            charges_asked=route.charge == "asked",
            billable=billable_by(config, [served[name] for name in route.served_by]),
            max_body=config.gate.max_body,
        ),
        *checks,
        *named[unread:],
        Layer("", ModelCards, aliases=aliases, allowed=route.models, catalog=catalog, cards=_cards(served)),
    ]


def _before_the_body(names: Sequence[str]) -> int:
    """How many layers of a route come before its body is read: all up to the last of the rate limits.

    What refuses by the number of requests, or of those at once, needs no body, and a body takes memory.
    """
    return max((index + 1 for index, name in enumerate(names) if name == "ratelimit"), default=0)


def _layer(  # noqa: PLR0917 - one case for each name that gate.toml has
    name: str,
    route: Route,
    config: Config,
    runtime: Runtime,
    served: Upstreams,
    surfaces: Mapping[Name, Surface],
) -> Layer:
    match name:
        case "ratelimit":
            return rate_limit(config, runtime, route.name, of_keys=True)
        case "quota":
            return _quota(route, config, runtime, served)
        case "accounting":
            return _accounting(route, config, runtime, served)
    return _offered(route, name, surfaces)


def _cards(served: Upstreams) -> Callable[[str, str], Mapping[str, Any] | None]:
    """What an upstream says of a model of its own."""
    return lambda upstream, model: served[upstream].model_cards.get(model)


def _named(route: Route) -> list[str]:
    """What a route lets through by name, as patterns of whole paths."""
    base = route.path.rstrip("/")
    return [path_pattern(base + each.path).pattern for each in route.allow if each.path != "*"]


def rate_limit(
    config: Config, runtime: Runtime, *names: str, only_named: bool = False, of_keys: bool = False
) -> Layer:
    """The layer for those of gate.toml's [[limits]] that are for one of `names`, or, unless `only_named`, for all.

    With `of_keys`, for the limits that keys have of their own as well.
    """
    return Layer(
        "ratelimit",
        _limited,
        limits=[limit_of(limit) for limit in config.limits if _is_for(limit, names, only_named=only_named)],
        storage=runtime.limits.windows,
        slots=runtime.limits.slots,
        fail_open=runtime.limits.fail_open,
        ipv6_prefix=config.gate.ipv6_prefix,
        of_keys=of_keys,
        clock=runtime.store.clock,
    )


def _is_for(limit: Limit, names: Sequence[str], *, only_named: bool) -> bool:
    return not ({*names}.isdisjoint(limit.routes) if limit.routes else only_named)


def _limited(app: ASGIApp, *, limits: Sequence[ratelimit.Limit], **settings: Any) -> ASGIApp:
    """No layer where there can be no limit: it would cost every request something."""
    return RateLimit(app, limits=limits, **settings) if limits or settings["of_keys"] else app


def _accounting(route: Route, config: Config, runtime: Runtime, served: Upstreams) -> Layer:
    first = route.served_by[0]
    return Layer(
        "accounting",
        Accounting,
        ledger=runtime.ledger,
        dialect=served[first].dialect,
        upstream=first,
        prices=prices_of(config),
        dialects={name: served[name].dialect for name in route.served_by},
        max_body=config.gate.max_body,
    )


def _quota(route: Route, config: Config, runtime: Runtime, served: Upstreams) -> Layer:
    first = route.served_by[0]
    return Layer(
        "quota",
        Quota,
        ledger=runtime.ledger,
        prices=prices_of(config),
        upstream=first,
        servings={
            name: serving_of(served[name], config.upstreams[name], runtime) for name in route.served_by
        },
        refused_status=route.quota_status,
        max_body=config.gate.max_body,
    )


def serving_of(upstream: upstreams.Upstream, settings: Upstream, runtime: Runtime) -> Serving:
    """What the layers have to know of an upstream."""
    dialect = upstream.dialect
    return Serving(
        upstream=upstream.name,
        dialect=dialect,
        context_length=settings.context_length,
        context=ContextLengths(upstream, dialect, upstream.http or runtime.http),
        max_output_tokens=settings.max_output_tokens,
        count=TokenCounter(upstream, dialect, upstream.http or runtime.http),
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
