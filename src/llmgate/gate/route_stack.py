"""The stack of a route of gate.toml: the relay, and the layers around it, in one list."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..backends.catalog import Catalog
from ..backends.model_list import ModelCards
from ..config import Config, Name, Route
from ..errors import ConfigError
from ..exchange import exchange_of
from ..identity.response_owners import ResponseOwners
from ..middleware import (
    Accounting,
    EnginePriority,
    FatalParameters,
    MeteredOnly,
    Models,
    Quota,
    ReadBody,
    StoredResponses,
)
from ..middleware.read_body import is_for_a_model
from ..proxy.asgi_upstream import AsgiUpstream
from ..proxy.relay import Outlet, Relay
from .from_config import aliases_of, billable_by, entries_of, prices_of
from .router import path_pattern
from .stack import Layer, body_budget, rate_limits
from .upstreams import Upstreams, serving_of

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..plugin.operation import Surface
    from ..store import Store
    from .runtime import Runtime


METERED = frozenset({"quota", "accounting"})
"""Layers of gate.toml that count what models are made to do."""


def relay_of(route: Route, config: Config, runtime: Runtime, served: Upstreams) -> Relay | AsgiUpstream:
    """The innermost app of a route: it passes requests on to one of its upstreams."""
    first = route.served_by[0]
    settings, upstream = config.upstreams[first], served[first]
    strip = route.path if route.upstream_path is not None else ""
    upstream_path = route.upstream_path or ""
    if runtime.inner is not None and settings.is_asgi_app:
        return AsgiUpstream(runtime.inner, upstream, strip_prefix=strip, upstream_path=upstream_path)
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
        upstream_path=upstream_path,
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

    upstreams = [served[name] for name in route.served_by]

    def lists_read() -> int:
        """Asked for each request: no generator."""
        number = 0
        for upstream in upstreams:
            number += upstream.lists_read
        return number

    return Catalog(
        route.served_by,
        models=entries,
        aliases={name: aliases_of(config.upstreams[name]) for name in route.served_by},
        live=lists,
        is_up=lambda name: served[name].any_ready() is not None,
        changed=lists_read,
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
    unread = _before_the_body(route.middleware)

    def named(names: Sequence[str]) -> list[Layer]:
        each = (_layers(name, route, config, runtime, served, surfaces) for name in names)
        return [layer for layers in each for layer in layers]

    checks: list[Middleware] = []
    if any(operation.path == "*" for operation in route.allow) and not METERED.isdisjoint(route.middleware):
        checks.append(Layer("", MeteredOnly, named=_named(route)))
    stored = any(operation.path.startswith("/responses/{") for operation in route.allow)
    owners = ResponseOwners(runtime.store) if stored else None
    checks.append(Layer("", StoredResponses, owners=owners))
    if any(config.upstreams[name].lora for name in route.served_by):
        checks.append(Layer("", FatalParameters))
    return [
        *named(route.middleware[:unread]),
        body_budget(config, runtime, max_body=config.gate.max_body, counted=is_for_a_model),
        Layer("", ReadBody, max_body=config.gate.max_body),
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
            by_name=bool(config.prices),
            prefix=route.path,
            end_user_header=route.end_user_header,
            max_body=config.gate.max_body,
        ),
        *(
            rate_limits(config, runtime, route.name, end_users=True)
            if "ratelimit" in route.middleware
            else ()
        ),
        *checks,
        *_engine_priority(route, config),
        *named(route.middleware[unread:]),
        Layer(
            "",
            ModelCards,
            aliases=aliases,
            allowed=route.models,
            catalog=catalog,
            cards=_cards(served),
            visible=_visible,
        ),
    ]


def _visible(scope: Scope) -> Callable[[str], bool] | None:
    """Which models a caller may use; None for all."""
    principal = exchange_of(scope).principal
    return principal.may_ask if principal is not None and principal.held_to_models else None


def _engine_priority(route: Route, config: Config) -> list[Middleware]:
    """What writes vLLM's own priority, for the upstreams that ask for it."""
    names = [name for name in route.served_by if config.upstreams[name].send_priority]
    return [Layer("", EnginePriority, upstreams=names)] if names else []


def _before_the_body(names: Sequence[str]) -> int:
    """How many layers of a route come before its body is read: all up to the last of the rate limits.

    What refuses by the number of requests, or of those at once, needs no body, and a body takes memory.
    """
    return max((index + 1 for index, name in enumerate(names) if name == "ratelimit"), default=0)


def _layers(  # noqa: PLR0917 - one case for each name that gate.toml has
    name: str,
    route: Route,
    config: Config,
    runtime: Runtime,
    served: Upstreams,
    surfaces: Mapping[Name, Surface],
) -> list[Layer]:
    match name:
        case "ratelimit":
            return rate_limits(config, runtime, route.name, of_keys=True, end_users=False)
        case "quota":
            return [_quota(route, config, runtime, served)]
        case "accounting":
            return [_accounting(route, config, runtime, served)]
    return [_offered(route, name, surfaces)]


def _cards(served: Upstreams) -> Callable[[str, str], Mapping[str, Any] | None]:
    """What an upstream says of a model of its own."""
    return lambda upstream, model: served[upstream].model_cards.get(model)


def _named(route: Route) -> list[str]:
    """What a route lets through by name, as patterns of whole paths."""
    base = route.path.rstrip("/")
    return [path_pattern(base + each.path).pattern for each in route.allow if each.path != "*"]


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
        servings={name: serving_of(served[name], config.upstreams[name]) for name in route.served_by},
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
