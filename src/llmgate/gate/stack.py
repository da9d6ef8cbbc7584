"""The layers of a configured route, in the order that gate.toml gives them, around the relay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..backends.context_length import ContextLengths
from ..backends.dialect import DIALECTS
from ..backends.model_list import ModelCards
from ..backends.token_counter import TokenCounter
from ..config import Config, Limit, Name, Route, Upstream
from ..errors import ConfigError
from ..middleware import Accounting, Authentication, Errors, Metrics, Models, Quota, RateLimit, RequestId
from ..proxy import upstreams
from ..proxy.asgi_upstream import ORIGIN, AsgiUpstream
from ..proxy.circuit_breaker import BreakerSettings
from ..proxy.engines.base import Timeouts
from ..proxy.health import HealthSettings
from ..proxy.relay import Relay
from .from_config import aliases_of, limit_of, prices_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..identity import Identity
    from ..plugin.operation import Surface
    from ..proxy.engines.base import Engine
    from ..proxy.replica import Replicas
    from .runtime import Runtime


def route_app(
    route: Route,
    config: Config,
    runtime: Runtime,
    upstream: upstreams.Upstream,
    surfaces: Mapping[Name, Surface],
) -> ASGIApp:
    """Everything of a route that is inside of authentication. Raises `ConfigError` for unknown layers."""
    settings = config.upstreams[route.upstream]
    strip = route.path if route.upstream_path is not None else ""
    put = route.upstream_path or ""
    app: ASGIApp
    if runtime.inner is not None and settings.is_asgi_app:
        app = AsgiUpstream(runtime.inner, upstream, strip_prefix=strip, upstream_path=put)
    else:
        app = Relay(
            upstream,
            strip_prefix=strip,
            upstream_path=put,
            forwarded=settings.forwarded,
            own_request_id=DIALECTS[settings.dialect].request_id_must_be_uuid,
            max_body=config.gate.max_body,
        )
    app = ModelCards(app, aliases=aliases_of(settings), allowed=route.models)
    for name in reversed(route.middleware):
        match name:
            case "accounting":
                app = Accounting(
                    app,
                    ledger=runtime.ledger,
                    dialect=DIALECTS[settings.dialect],
                    upstream=route.upstream,
                    prices=prices_of(config),
                    max_body=config.gate.max_body,
                )
            case "quota":
                app = _quota(app, route, config, runtime, upstream)
            case "ratelimit":
                app = rate_limit(app, config.limits, runtime, route.name)
            case _:
                app = _offered(app, route, name, surfaces)
    return Models(
        app,
        default=route.default_model,
        aliases=aliases_of(settings),
        allowed=route.models,
        max_body=config.gate.max_body,
    )


def rate_limit(app: ASGIApp, limits: Iterable[Limit], runtime: Runtime, route: str) -> ASGIApp:
    """Hold `app`, which serves `route`, to those of gate.toml's [[limits]] that are for it."""
    mine = [limit_of(limit) for limit in limits if not limit.routes or route in limit.routes]
    if not mine:
        return app
    return RateLimit(
        app,
        limits=mine,
        storage=runtime.windows,
        slots=runtime.slots,
        fail_open=runtime.limits_fail_open,
    )


def outer(
    app: ASGIApp,
    config: Config,
    runtime: Runtime,
    identity: Identity,
    *,
    credentials: Sequence[str],
    required: bool,
    roles: Sequence[str],
) -> ASGIApp:
    """What stands in front of every route and operation: request id, metrics, errors, authentication if any."""
    if credentials:
        app = Authentication(
            app,
            verifiers=[identity.sessions, identity.keys],
            credentials=credentials,
            required=required,
            roles=roles,
            on_use=identity.keys.touch,
        )
    access_log = runtime.access_log if config.gate.access_log else None
    return RequestId(Metrics(Errors(app), instruments=runtime.instruments, access_log=access_log))


def _quota(
    app: ASGIApp, route: Route, config: Config, runtime: Runtime, upstream: upstreams.Upstream
) -> ASGIApp:
    settings = config.upstreams[route.upstream]
    dialect = DIALECTS[settings.dialect]
    return Quota(
        app,
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


def _offered(app: ASGIApp, route: Route, name: str, surfaces: Mapping[Name, Surface]) -> ASGIApp:
    plugin, _, layer = name.partition(".")
    offered = next((surface.middleware for name, surface in surfaces.items() if name == plugin), {})
    if layer not in offered:
        known = ["ratelimit", "quota", "accounting"]
        known += [f"{plugin}.{layer}" for plugin, surface in surfaces.items() for layer in surface.middleware]
        raise ConfigError(
            [f'routes: {route.name}: middleware: there is no "{name}" (known: {", ".join(known)})']
        )
    return offered[layer](app)


def upstream_of(
    name: str, settings: Upstream, engine: Engine, known: Replicas | None = None
) -> upstreams.Upstream:
    """An upstream as `settings` describe it, on `engine`; `known` are the replicas of the process."""
    return upstreams.Upstream(
        name,
        [ORIGIN] if settings.is_asgi_app else settings.urls,
        engine=engine,
        timeouts=Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout),
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
