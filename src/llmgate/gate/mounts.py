"""The kinds of routes that a gate has. Each knows the methods and paths it takes, and the middleware around it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount, Route

from ..errors import MethodNotAllowed, NotFound
from ..plugin.operation import AsgiEndpoint, Operation
from .router import Claim, Router, claims_of, path_of
from .stack import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.middleware import Middleware
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Route as RouteSettings


class ProxyMount(Mount):
    """A route of gate.toml: what it allows below its path goes into `app`, the relay, through `middleware`.

    `front` is the part of the middleware up to authentication, `service` what comes after it: a surface sends its
    own callers there. Unlike other mounts it leaves the scope as it came: the relay and its layers go by the whole
    path, as their upstreams do.
    """

    def __init__(
        self,
        settings: RouteSettings,
        app: ASGIApp,
        *,
        owner: str,
        front: Sequence[Middleware],
        middleware: Sequence[Middleware],
    ) -> None:
        self.service = wrap(app, middleware)
        super().__init__(settings.path, self.service, name=settings.name, middleware=front)
        self.owner = owner
        self.settings = settings
        self.middleware = [*front, *middleware]
        self.claims = [
            Claim(each.method, self.path + path) for each in settings.allow for path in _spellings(each.path)
        ]
        if settings.cors_origins:
            preflights = (Claim("OPTIONS", claim.path) for claim in self.claims if claim.method != "*")
            self.claims = list(dict.fromkeys([*self.claims, *preflights]))

    @cached_property
    def _alone(self) -> Router:
        return Router([self])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See Starlette. For a router that has no table of claims."""
        if scope["type"] != "http":
            return Match.NONE, {}
        try:
            _, parameters = self._alone.find(scope["method"], path_of(scope))
        except NotFound:
            return Match.NONE, {}
        except MethodNotAllowed:
            return Match.PARTIAL, {}
        return Match.FULL, {"path_params": parameters}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Starlette."""
        try:
            self._alone.find(scope["method"], path_of(scope))
        except MethodNotAllowed as error:
            headers = {name.decode().title(): value.decode() for name, value in error.headers}
            raise HTTPException(error.answer_status, error.message, headers) from error
        await self.app(scope, receive, send)


def _spellings(path: str) -> tuple[str, ...]:
    """The path of an operation below its route: with a slash at its end it is the same operation."""
    if path == "*":
        return ("/{rest:path}",)
    return (path,) if path.endswith((":path}", "/")) else (path, f"{path}/")


class GateRoute(Route):
    """What the gate itself says at `path`: health, metrics, documentation. `app` is an ASGI app."""

    def __init__(self, path: str, app: ASGIApp, *, owner: str, middleware: Sequence[Middleware] = ()) -> None:
        super().__init__(path, AsgiEndpoint(app), methods=["GET"], name="-", middleware=middleware)
        self.owner = owner
        self.middleware = list(middleware)
        self.claims = [Claim("GET", path)]


class PluginRoute(BaseRoute):
    """A `route` of a plugin as the gate serves it: below the plugin's `prefix`, inside of `middleware`."""

    def __init__(
        self, route: BaseRoute, *, name: str, owner: str, prefix: str, middleware: Sequence[Middleware]
    ) -> None:
        self.name = name
        self.owner = owner
        self.middleware = list(middleware)
        self.claims = [Claim(method, prefix + path) for method, path in claims_of(route)]
        self._route = route
        self._mount = _Below(prefix, routes=[route])
        self.app = wrap(route.app if isinstance(route, Operation) else self._mount, middleware)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See Starlette. For a route without claims, such as a `Host`."""
        match, child = self._mount.matches(scope)
        if match is Match.FULL:
            match, _ = self._route.matches({**scope, **child})
        return match, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Starlette."""
        await self.app(scope, receive, send)


class _Below(Mount):
    """A mount whose routes find the parameters of the path themselves, whatever a table has found."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches({**scope, "path_params": {}})
