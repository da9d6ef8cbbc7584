"""Which route a request goes to: literal paths are looked up, patterns are tried after them, the most exact first."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from starlette import routing
from starlette.convertors import CONVERTOR_TYPES
from starlette.routing import Match, Mount, Route, WebSocketRoute

from ..errors import ConfigError, MethodNotAllowed, NotFound, Refusal
from ..exchange import StackLayer
from ..middleware.allowed_hosts import misdirected, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"
"""In place of a method: every method."""
WEBSOCKET = "WEBSOCKET"
"""In place of a method: the handshake of a WebSocket."""
REFUSAL = "llmgate.refusal"
"""Where the scope of a request that no route takes says why, for the router's default app."""

_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_]+))?\}")


class Claim(NamedTuple):
    """A method on a path, which may have `{name}` for a segment and `{name:path}` for the rest."""

    method: str
    path: str


@runtime_checkable
class Claims(Protocol):
    """A route that says what it takes: a request that fits goes straight into its `app`."""

    app: ASGIApp
    claims: Sequence[Claim]


def claims_of(route: BaseRoute) -> Sequence[Claim]:
    """What `route` takes; by its own word if it is one of `Claims`. Nothing: it has to be asked by its `matches`."""
    if isinstance(route, Claims):
        return route.claims
    if isinstance(route, Route):
        methods = route.methods or {ANY}
        implied = {"HEAD"} if "GET" in methods else set()
        return [Claim(method, route.path) for method in sorted(methods - implied)]
    if isinstance(route, WebSocketRoute):
        return [Claim(WEBSOCKET, route.path)]
    if isinstance(route, Mount):
        path = route.path
        paths = [*([path] if path else []), f"{path}/", f"{path}/{{path:path}}"]
        return [Claim(method, path) for method in (ANY, WEBSOCKET) for path in paths]
    return []


def entry_of(app: ASGIApp) -> ASGIApp:
    """What to call for `app`: an object's method, which is called at a third of the price of the object.

    Of a `StackLayer` that is `within_stack`, unless a subclass has a `__call__` of its own.
    """
    call = getattr(type(app), "__call__", None)  # noqa: B004
    if isinstance(app, StackLayer) and call is StackLayer.__call__:
        return app.within_stack
    return app.__call__ if isinstance(call, FunctionType) else app  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the table. A route that makes no claims of its own is its own app: it matches once more."""

    claim: Claim
    route: BaseRoute
    app: ASGIApp
    is_own_app: bool


@dataclass(slots=True)
class _Pattern:
    """A path with parameters. Each entry has names of its own for them."""

    regex: re.Pattern[str]
    entries: dict[str, _Entry] = field(default_factory=dict)

    def parameters(self, entry: _Entry, match: re.Match[str]) -> dict[str, str]:
        names = [found[1] for found in _PARAMETER.finditer(entry.claim.path)]
        return dict(zip(names, match.groups(), strict=True))


def _entry(claim: Claim, route: BaseRoute) -> _Entry:
    app = route.app if isinstance(route, Claims) else route
    return _Entry(claim, route, entry_of(app), app is route)


class Router(routing.Router):
    """Starlette's router with a table in front: of a hundred routes it tries none in vain.

    HEAD goes where GET goes. OPTIONS has no meaning of its own: browsers of other origins are not let in.
    What no route takes goes to `default`, with a `NotFound` or `MethodNotAllowed` in `scope[REFUSAL]`; slashes
    are not mended. Raises `ConfigError` where two routes claim the same method and path.
    """

    def __init__(self, routes: Iterable[BaseRoute], *, default: ASGIApp | None = None) -> None:
        super().__init__([*routes], redirect_slashes=False, default=default or not_found)
        self._literal: dict[str, dict[str, _Entry]] = {}
        self._patterns: list[_Pattern] = []
        self._others: list[BaseRoute] = []
        self._fill()

    def _fill(self) -> None:
        patterns: dict[str, _Pattern] = {}
        problems = []
        for route in self.routes:
            claims = claims_of(route)
            if not claims:
                self._others.append(route)
            for claim in claims:
                if _PARAMETER.search(claim.path):
                    regex = path_pattern(claim.path)
                    entries = patterns.setdefault(regex.pattern, _Pattern(regex)).entries
                else:
                    entries = self._literal.setdefault(claim.path, {})
                entry = _entry(claim, route)
                if (other := entries.get(claim.method)) is not None:
                    problems.append(_clash(entry, other))
                entries[claim.method] = entry
        if problems:
            raise ConfigError(problems)
        self._patterns = sorted(patterns.values(), key=lambda pattern: _rank(pattern.regex.pattern))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for who uses it as Starlette's."""
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        else:
            await self.dispatch(scope, receive, send)

    def dispatch(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The answer of the route that takes this request. Not a coroutine: every request passes here."""
        method = scope["method"] if scope["type"] == "http" else WEBSOCKET
        path = path_of(scope) if scope.get("root_path") else scope["path"]
        methods = self._literal.get(path)
        if methods is not None and (at_once := methods.get(method)) is not None:
            return at_once.app(scope, receive, send)
        try:
            entry, parameters = self.find(method, path)
        except Refusal as refusal:
            for route in self._others:
                match, child = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child)
                    return route.handle(scope, receive, send)
            scope[REFUSAL] = refusal
            return self.default(scope, receive, send)
        if parameters and not entry.is_own_app:
            scope["path_params"] = parameters
        return entry.app(scope, receive, send)

    def find(self, method: str, path: str) -> tuple[_Entry, dict[str, str]]:
        """The entry for a request and the parameters in its path.

        Raises `NotFound`, or `MethodNotAllowed` where the path is there but not for this method.
        """
        allowed: set[str] = set()
        methods = self._literal.get(path)
        if methods is not None:
            entry = _for_method(methods, method)
            if entry is not None:
                return entry, {}
            allowed.update(methods)
        for pattern in self._patterns:
            match = pattern.regex.fullmatch(path)
            if match is not None:
                entry = _for_method(pattern.entries, method)
                if entry is not None:
                    return entry, pattern.parameters(entry, match)
                allowed.update(pattern.entries)
        allowed.discard(WEBSOCKET)
        if not allowed or method == WEBSOCKET:
            raise NotFound(f"There is nothing at {method} {path}.")
        if "GET" in allowed:
            allowed.add("HEAD")
        raise MethodNotAllowed(f"{path} does not take {method}.", allowed=allowed)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of a request that no route takes: raises what the router said, or closes a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "this gate speaks HTTP"})
        return
    raise scope[REFUSAL]


async def wrong_host(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of a request for a host that is not served here."""
    if scope["type"] == "websocket":
        await misdirected(scope, receive, send)
        return
    raise refusal(scope)


def path_of(scope: Scope) -> str:
    """The path below what the server, or an app around this one, is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def _for_method(methods: dict[str, _Entry], method: str) -> _Entry | None:
    entry = methods.get(method)
    if entry is None and method != WEBSOCKET:
        entry = methods.get(ANY)
    return methods.get("GET") if entry is None and method == "HEAD" else entry


def path_pattern(path: str) -> re.Pattern[str]:
    """What a path with parameters matches, each of them as a group."""
    pattern, end = "", 0
    for match in _PARAMETER.finditer(path):
        pattern += re.escape(path[end : match.start()])
        pattern += "(.+)" if match[2] == "path" else f"({CONVERTOR_TYPES[match[2] or 'str'].regex})"
        end = match.end()
    return re.compile(pattern + re.escape(path[end:]), re.DOTALL)


def _rank(pattern: str) -> tuple[bool, int]:
    """Patterns that take a whole rest come last, longer ones first: the more exact one wins."""
    return ".+" in pattern, -len(pattern)


def _clash(entry: _Entry, other: _Entry) -> str:
    return (
        f"{_owner(entry)}: {' '.join(entry.claim)} is also claimed by {_owner(other)}; "
        "give one of them a `prefix` (or another `path`), or a `listen` address of its own"
    )


def _owner(entry: _Entry) -> str:
    """What gate.toml calls the route."""
    return getattr(entry.route, "owner", None) or repr(entry.route)
