"""Rules for routes: names, places, and what stands around them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Final
from urllib.parse import urlsplit

from .findings import Finding, addresses_of_route
from .messages import dangling, quoted
from .read import BROKEN, sound
from .schema import (
    Config,
    Limit,
    Route,
)

MIDDLEWARE: Final = ("ratelimit", "quota", "accounting")
"""What a route can name without a plugin."""


def some_upstream(config: Config, route: Route) -> Iterator[Finding]:
    """A route leads to one upstream, or to several by the model."""
    if (route.upstream is None) == (not route.upstreams):
        yield "upstream", "expected either upstream or upstreams"
    for name in sound(route.upstreams):
        if name not in config.upstreams:
            yield "upstreams", dangling("upstream", name, config.upstreams)
        elif config.upstreams[name].is_asgi_app and len(route.upstreams) > 1:
            yield "upstreams", f"{quoted(name)} is the app around which the gate is put, and stands alone"


def one_name(config: Config, route: Route) -> Iterator[Finding]:
    """Limits, metrics and the ledger tell routes and plugins apart by name."""
    if route.name in config.plugins:
        yield "name", f"a plugin is called {quoted(route.name)} already: give the route a name of its own"
    for earlier in _before(route, config):
        if earlier.name == route.name:
            yield "name", f"another route is called {quoted(route.name)} already: give each a name of its own"
            return


def one_place(config: Config, route: Route) -> Iterator[Finding]:
    """Two routes at the same address cannot have the same path."""
    here = set(addresses_of_route(config, route))
    for earlier in _before(route, config):
        shared = here.intersection(addresses_of_route(config, earlier))
        if earlier.path == route.path and shared:
            where = f"{quoted(route.path)} on {min(map(str, shared))}"
            yield "path", f"{where} is another route's already: change path or listen"
            return


def no_doubled_path(config: Config, route: Route) -> Iterator[Finding]:
    """An upstream's URL is the server's root; the route's path is added to it."""
    added = route.path if route.upstream_path is None else route.upstream_path
    for name in sound(route.served_by):
        for url in sound(config.upstreams[name].urls) if name in config.upstreams else ():
            if added != "/" and urlsplit(url).path.endswith(added):
                twice = f"{quoted(url)} of upstream {quoted(name)} ends in {quoted(added)} already"
                yield "path", f"{twice}: write {quoted(url.removesuffix(added))} there"


def allow_below_path(_: Config, route: Route) -> Iterator[Finding]:
    """What `allow` names is below the route's path, and added to it."""
    if route.path == "/":
        return
    for index, operation in enumerate(route.allow):
        if operation is not BROKEN and (
            operation.path == route.path or operation.path.startswith(f"{route.path}/")
        ):
            below = operation.path.removeprefix(route.path)
            meant = f"write {quoted(f'{operation.method} {below}')}" if below else f"write {quoted('*')}"
            yield (
                f"allow[{index}]",
                f"paths are those below {quoted(route.path)}, so this is {route.path}{operation.path}: {meant}",
            )


def known_middleware(config: Config, route: Route) -> Iterator[Finding]:
    """Middleware is built in, or offered by a plugin that has a table."""
    for name in sound(route.middleware):
        plugin, dot, _ = name.partition(".")
        if name not in MIDDLEWARE and not (dot and plugin in config.plugins):
            yield (
                "middleware",
                dangling("middleware", name, [*MIDDLEWARE, *(f"{p}.NAME" for p in config.plugins)]),
            )


def accounting_below(config: Config, route: Route) -> Iterator[Finding]:
    """What counts tokens settles with what accounting, further in, has read of the answer."""
    limited = any(limit.tokens is not None and _holds_for(limit, route) for limit in config.limits)
    counting = {"quota", "ratelimit"} if limited else {"quota"}
    for index, name in enumerate(route.middleware):
        if name in counting and "accounting" not in route.middleware[index:]:
            yield "middleware", f'{quoted(name)} needs what "accounting" reads: put "accounting" after it'


def roles_need_a_caller(_: Config, route: Route) -> Iterator[Finding]:
    """Nobody has a role who is not known."""
    if route.roles and route.authentication == "none":
        yield "roles", 'no caller is known here, so none has a role: write authentication = "required"'


def allowed_default(_: Config, route: Route) -> Iterator[Finding]:
    """The model that is filled in is one that may be asked for."""
    if (
        route.default_model is not None
        and route.models is not None
        and route.default_model not in route.models
    ):
        yield "default_model", dangling("allowed model", route.default_model, route.models)


def _before(route: Route, config: Config) -> Iterator[Route]:
    return takewhile(lambda other: other is not route, sound(config.routes))


def _holds_for(limit: Limit, route: Route) -> bool:
    return not limit.routes or route.name in limit.routes
