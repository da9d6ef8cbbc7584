"""The stacks: lists of Starlette's `Middleware`; here what stands in front of every route, and what holds it to limits.

`llmgate routes` prints from these lists, and everything that is served is wrapped by them. `route_stack` has the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..config import Address, Config, Limit, Route
from ..middleware import (
    AllowedHosts,
    Authentication,
    BeginExchange,
    BodyBudget,
    Errors,
    Metrics,
    ProxyHeaders,
    RateLimit,
    RequestId,
)
from ..middleware.allowed_hosts import LOCAL_NAMES
from ..plugin.cross_origin import Cors, NoOptions
from ..plugin.surface_app import own_origin, surface_layers
from ..ratelimit.headers import LIMIT_HEADERS
from .from_config import limit_of
from .router import entry_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

    from ..identity import Identity
    from ..middleware.authentication import Verifier
    from ..plugin.operation import Surface
    from .runtime import Runtime


READABLE = (
    "retry-after",
    "x-should-retry",
    "x-request-id",
    "x-gate-request-id",
    "x-gate-model",
    *LIMIT_HEADERS,
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
        layer = cls(app, *args, **settings)
        if vars(layer).get("app") is app:
            layer.app = entry_of(app)
        app = layer
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


def body_budget(
    config: Config, runtime: Runtime, *, max_body: int, counted: Callable[[Scope], bool] | None = None
) -> Layer:
    """The layer for what bodies take of memory: behind the rate limits, before the body is read."""
    return Layer(
        "",
        BodyBudget,
        max_body=max_body,
        bodies=runtime.bodies,
        limit=config.gate.body_budget,
        caller_limit=config.gate.body_budget_per_key,
        **({} if counted is None else {"counted": counted}),
    )


def rate_limits(
    config: Config,
    runtime: Runtime,
    *names: str,
    only_named: bool = False,
    of_keys: bool = False,
    end_users: bool | None = None,
    address: Address | None = None,
) -> list[Layer]:
    """The layer for those of gate.toml's [[limits]] that are for one of `names`, or, unless `only_named`, for all.

    Limits of other addresses than `address` are left out. With `of_keys`, for the limits that keys have of their
    own as well. With `end_users` only limits per end user, who is known once the body is read, or (False) all others.
    Where there can be no limit, there is no layer: it would cost every request something.
    """
    mine = [
        limit_of(limit)
        for limit in config.limits
        if _is_for(limit, names, only_named=only_named)
        and (not limit.listen or address in limit.listen)
        and end_users in (None, limit.per == "end_user")
    ]
    if not mine and not of_keys:
        return []
    return [
        Layer(
            "ratelimit",
            RateLimit,
            limits=mine,
            storage=runtime.limits.windows,
            slots=runtime.limits.slots,
            fail_open=runtime.limits.fail_open,
            ipv6_prefix=config.gate.ipv6_prefix,
            of_keys=of_keys,
            clock=runtime.store.clock,
        )
    ]


def _is_for(limit: Limit, names: Sequence[str], *, only_named: bool) -> bool:
    return not ({*names}.isdisjoint(limit.routes) if limit.routes else only_named)
