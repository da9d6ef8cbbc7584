"""What a plugin shows to the world: typed operations in a guide's dialect, thin over the core's services.

    Operation(method="POST", path="/auth/register", handler=register, body=Registration, answers={200: Account})

    async def register(call: Call[Registration]) -> Account: ...

The core reads and checks the body, proves the credential, calls the handler with a `Call`, and encodes
what it returns with the first status of `answers`. A handler raises a `Refusal` to say no; the surface's
`error_shape` puts it into the guide's words. The same declarations make the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic

from starlette.routing import Route
from typing_extensions import TypeVar

from ..errors import ErrorShape, Header, OpenAIError, openai_shape
from .call import JSON, Call
from .guarded import AccessApp, Guarded
from .operation_app import OperationApp

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..exchange import Exchange
    from ..identity.new_keys import Scope as KeyScope
    from ..middleware.authentication import Verifier
    from .cross_origin import Cors

BodyT = TypeVar("BodyT", default=None)
QueryT = TypeVar("QueryT", default=None)
AccessT = TypeVar("AccessT", default=None)

Handler = Callable[[Call[BodyT, QueryT, AccessT]], Awaitable[object]]
Access = Callable[[Call], Awaitable[AccessT]]
"""Says who may call, before the body is read: raises a `Refusal`, or returns what the handler wants to know."""
Observe = Callable[["Scope", "Exchange", int], Awaitable[None]]
"""Is told of each request once it is answered: with which status (0: it was left before), refused ones included."""


@dataclass(kw_only=True, eq=False)
class Operation(Route, Generic[BodyT, QueryT, AccessT]):
    """One method on one path, e.g. `/users/{id}`; `{id:path}` takes the rest of the path. A route of Starlette's.

    Either a `handler` with typed `body` and `query`, or a plain ASGI `app` that takes the request over once it
    is authenticated; what is said of its body is documentation. `media_types` are those that a body may have
    (JSON, FORM or both; ANY beside one of them), else it is refused with 415; one that is MULTIPART
    is left to the handler, which reads it from `Call.receive` as `kit.uploads` does. `lenient` reads numbers and
    booleans that are written as text, and takes an empty body for an empty object.

    `credentials` says where a credential may stand; none: the operation is public. `roles` are those of the
    gate of which a caller needs one. `access` decides by what it looks up, as the caller's role in the team
    that the path names. `group` is how `[[limits]]` name the operation together with others: `PLUGIN.GROUP`.
    `route` is the route that an `app` sends requests into, once it has read their body: that route's rate limits hold
    before the body is read, and not a second time.

    `answers` maps statuses to body types, `Media` or None; the first is that of success. What follows from
    the rest need not be said: 400, 413 and 415 for a body, 400 for a query, 401 for credentials, 403 for roles and
    `access`, 429 and 503.

    For the documentation alone: `parameters` has the types of the path's parameters (text, if it does not
    say), `headers` those of request headers, and `summary` one line.
    """

    method: str
    path: str
    handler: Handler[BodyT, QueryT, AccessT] | None = None
    app: InitVar[ASGIApp | None] = None
    body: type[BodyT] | None = None
    media_types: Sequence[str] = (JSON,)
    query: type[QueryT] | None = None
    lenient: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=lambda: MappingProxyType({200: None}))
    credentials: Sequence[str] = ()
    required: bool = True
    roles: Sequence[str] = ()
    access: Access[AccessT] | None = None
    group: str = ""
    route: str = ""
    scope: KeyScope | None = "account"
    """What an API key that has a scope must be good for here."""
    session: bool = False
    """Whether an API key will not do."""
    summary: str = ""

    def __post_init__(self, app: ASGIApp | None) -> None:
        assert self.handler is None or app is None, "an operation has a handler or an app"
        self.answering: ASGIApp = OperationApp(self) if app is None else app
        asked = self.answering
        if app is not None and self.access is not None:
            asked = AccessApp(app, access=self.access)
        super().__init__(self.path, AsgiEndpoint(asked), methods=[self.method])

    def at(self, path: str) -> Operation[BodyT, QueryT, AccessT]:
        """The same at another path."""
        return replace(self, path=path, app=self.answering if self.handler is None else None)


class AsgiEndpoint:
    """An ASGI app as the endpoint of a `Route`, which takes a function for one of a `Request`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        return self._app(scope, receive, send)


AnyOperation = Operation[Any, Any, Any]
"""An operation, whatever it takes."""


@dataclass(frozen=True, slots=True)
class Surface:
    """All that a plugin yields: operations, routes of its own kind, and middleware that gate.toml may name.

    `routes` are Starlette's (`Mount`, `Route`, `WebSocketRoute`, static files, whole applications), served
    below the plugin's prefix with request ids, metrics and `error_shape` (of Starlette's `HTTPException`, too)
    around them; one that wants a credential is `Guarded`. `problem` is the type of what `error_shape` writes, for
    the documentation. With `slash_alike` a path is the same with and
    without a slash at its end. `headers` go out on every answer, `cors` says which other origins' pages may
    call, `observe` is told of every request. `verifiers` know credentials that are of no kind of the core's.
    """

    name: str
    operations: Sequence[AnyOperation] = ()
    error_shape: ErrorShape = openai_shape
    middleware: Mapping[str, Callable[[ASGIApp], ASGIApp]] = field(default_factory=dict)
    title: str = ""
    problem: type[Any] = OpenAIError
    routes: Sequence[BaseRoute | Guarded] = ()
    slash_alike: bool = False
    headers: Sequence[Header] = ()
    cors: Cors | None = None
    observe: Observe | None = None
    verifiers: Sequence[Verifier] = ()

    @property
    def groups(self) -> set[str]:
        """How `[[limits]]` may name operations and routes together."""
        of_routes = {each.group for each in self.routes if isinstance(each, Guarded)}
        return ({each.group for each in self.operations} | of_routes) - {""}
