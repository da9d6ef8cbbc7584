"""The stacks of a plugin's operations and routes: what stands in front, limits, and what bodies take of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..middleware import RateLimit
from ..plugin.call import MULTIPART
from ..plugin.guarded import AccessApp, Guarded
from ..plugin.operation_app import MAX_BODY
from ..plugin.surface_app import operations_of
from .mounts import PluginRoute
from .stack import Layer, body_budget, front, rate_limits, wrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

    from ..config import Address, Config, Name
    from ..identity import Identity
    from ..middleware.authentication import Verifier
    from ..plugin.operation import AnyOperation, Surface
    from .runtime import Runtime

BODILESS = ("GET", "HEAD", "OPTIONS")


def verifiers_of(surfaces: Mapping[Name, Surface]) -> list[Verifier]:
    """Who knows credentials that are of no kind of the core's: they hold wherever credentials are taken."""
    return [verifier for surface in surfaces.values() for verifier in surface.verifiers]


def count_on(config: Config, runtime: Runtime, group: str) -> Callable[[Scope], Awaitable[None]]:
    """Counts a request on the limits that name `group`, besides those that it has passed."""
    layer = wrap(_nothing, rate_limits(config, runtime, group, only_named=True))
    return layer.count if isinstance(layer, RateLimit) else _uncounted


async def _uncounted(_: Scope) -> None:
    """Where there is no such limit."""


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """The app of a layer that only counts."""


def plugin_routes(
    config: Config,
    runtime: Runtime,
    identity: Identity,
    surfaces: Mapping[Name, Surface],
    *,
    name: Name,
    address: Address,
) -> list[BaseRoute]:
    """What the plugin `name` has at `address`, each inside of its stack."""
    surface = surfaces[name]

    def served(route: BaseRoute, middleware: Sequence[Middleware]) -> PluginRoute:
        prefix = config.plugins[name].prefix
        return PluginRoute(route, name=name, owner=f"plugins.{name}", prefix=prefix, middleware=middleware)

    def before(asks: AnyOperation | Guarded) -> list[Middleware]:
        return front(
            config,
            runtime,
            identity,
            route=name,
            surface=surface,
            credentials=asks.credentials,
            required=asks.required,
            roles=asks.roles,
            verifiers=verifiers_of(surfaces),
            scope=asks.scope,
            session=asks.session,
        )

    def around(operation: AnyOperation) -> list[Middleware]:
        return [*before(operation), *_before_the_body(operation, config, runtime, name=name, address=address)]

    def around_route(route: BaseRoute | Guarded) -> PluginRoute:
        asks = route if isinstance(route, Guarded) else Guarded(route, credentials=())
        names = [f"{name}.{asks.group}"] if asks.group else []
        stack = [*before(asks), *rate_limits(config, runtime, *names, name, address=address)]
        if asks.access is not None:
            stack.append(Layer("access", AccessApp, access=asks.access))
        return served(asks.route, stack)

    return [
        *(served(operation, around(operation)) for operation in operations_of(surface)),
        *map(around_route, surface.routes),
    ]


def _before_the_body(
    operation: AnyOperation, config: Config, runtime: Runtime, *, name: Name, address: Address
) -> list[Middleware]:
    """What holds an operation to limits, and its body to a budget of memory.

    An app that sends requests into a route has the limits of that one: here, if it reads the body itself, else there.
    """
    is_app = operation.handler is None
    into = operation.route if _is_limited(operation.route, config) else ""
    names = [f"{name}.{operation.group}"] if operation.group else []
    names += [into] if into else []
    names += [] if is_app else [name]
    limits = rate_limits(
        config,
        runtime,
        *names,
        only_named=is_app and not into,
        of_keys=bool(into),
        address=address,
    )
    reads = not is_app or bool(operation.route)
    if not reads or MULTIPART in operation.media_types or operation.method in BODILESS:
        return [*limits]
    return [*limits, body_budget(config, runtime, max_body=config.gate.max_body if is_app else MAX_BODY)]


def _is_limited(route: Name, config: Config) -> bool:
    """Whether there are rate limits on `route`: of gate.toml, or one that a plugin adds while the gate runs."""
    own = {each.name: each for each in config.routes}
    return bool(route) and (route not in own or "ratelimit" in own[route].middleware)
