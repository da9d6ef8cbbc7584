"""What a plugin shows to the world: typed operations in a guide's dialect, thin over the core's services.

    Operation("POST", "/auth/register", register, body=Registration, answers={200: Account})

The core reads and checks the body, proves the credential, calls the handler with a `Call`, and encodes
what it returns with the first status of `answers`. A handler raises a `Refusal` to say no; the surface's
`error_shape` puts it into the guide's words. The same declarations make the OpenAPI document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from starlette.routing import BaseRoute, Route

from ..backends.json_body import read_fields
from ..errors import BadRequest, ClientGone, ErrorShape, Header, OpenAIError, Refusal, answer, openai_shape
from ..exchange import Exchange, Principal, exchange_of, read_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
EVENTS: Final = "text/event-stream"

MAX_BODY = 1024 * 1024
MAX_FIELDS = 100
"""Fields in one form or query."""


class Reply(NamedTuple):
    """An answer that is more than a value with the usual status. `value` None sends no body."""

    value: object
    status: int
    headers: Sequence[Header] = ()


async def _nobody() -> Message:
    """The `receive` of a call that no client has made: nobody leaves."""
    await asyncio.Event().wait()
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation. `body` and `query` are of the types that the operation declares."""

    scope: Scope
    exchange: Exchange
    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    receive: Receive = _nobody
    """Tells, once the body has been read, when the client leaves: for `Upstream.complete`."""

    @property
    def principal(self) -> Principal:
        """Who calls. Only operations that require a credential may ask."""
        assert self.exchange.principal is not None, "this operation does not require a credential"
        return self.exchange.principal

    def header(self, name: str) -> str | None:
        """The value of a request header, by its lower-case name."""
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), None)


Handler = Callable[[Call], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is of no type of the gate's: what a model says, a stream. `types` are its media types."""

    types: Sequence[str]


@dataclass(kw_only=True, eq=False)
class Operation(Route):
    """One method on one path, e.g. `/users/{id}`; `{id:path}` takes the rest of the path. A route of Starlette's.

    Either a `handler` with typed `body` (of `media_type` JSON or FORM) and `query`, or a plain ASGI `app`
    that takes the request over once it is authenticated; what is said of its body is documentation.
    `credentials` says where a credential may stand; none: the operation is public. `answers` maps statuses
    to body types, `Media` or None; the first is that of success. What follows from the rest need not be
    said: 400 and 413 for a body, 400 for a query, 401 for credentials, 403 for roles, 429 and 503.

    For the documentation alone: `parameters` has the types of the path's parameters (text, if it does not
    say), `headers` those of request headers, and `summary` one line.
    """

    method: str
    path: str
    handler: Handler | None = None
    app: InitVar[ASGIApp | None] = None
    body: type[Any] | None = None
    media_type: Literal["application/json", "application/x-www-form-urlencoded", "multipart/form-data"] = JSON
    query: type[Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=lambda: MappingProxyType({200: None}))
    credentials: Sequence[str] = ()
    required: bool = True
    roles: Sequence[str] = ()
    summary: str = ""

    def __post_init__(self, app: ASGIApp | None) -> None:
        endpoint = OperationApp(self) if app is None else AsgiEndpoint(app)
        super().__init__(self.path, endpoint, methods=[self.method])


class AsgiEndpoint:
    """An ASGI app as the endpoint of a `Route`, which takes a function for one of a `Request`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        return self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Surface:
    """All that a plugin yields: operations, other routes of Starlette's, and middleware that gate.toml may name.

    `routes` may be any (`Route`, `Mount`, `WebSocketRoute`). The gate serves them below the plugin's prefix, with
    request ids, metrics and `error_shape` (of Starlette's `HTTPException`, too) around them, and without
    authentication: a route that wants it has a `Middleware` for it.

    `problem` is the type of what `error_shape` writes, for the documentation.
    """

    name: str
    operations: Sequence[Operation] = ()
    routes: Sequence[BaseRoute] = ()
    error_shape: ErrorShape = openai_shape
    middleware: Mapping[str, Callable[[ASGIApp], ASGIApp]] = field(default_factory=dict)
    title: str = ""
    problem: type[Any] = OpenAIError


class OperationApp:
    """The ASGI app of one operation's handler."""

    def __init__(self, operation: Operation, *, max_body: int = MAX_BODY) -> None:
        self._handler = operation.handler
        self._body = operation.body
        self._is_form = operation.media_type == FORM
        self._query = operation.query
        self._status = next(iter(operation.answers), 200)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert self._handler is not None, "an operation has a handler or an app"
        exchange = exchange_of(scope)
        try:
            call = await self._read(scope, receive, exchange)
            result = await self._handler(call)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        except ClientGone:
            return
        reply = result if isinstance(result, Reply) else Reply(result, self._status)
        await _send(scope, send, reply)

    async def _read(self, scope: Scope, receive: Receive, exchange: Exchange) -> Call:
        body = query = None
        if self._query is not None:
            query = _read_pairs(scope["query_string"], self._query, "query")
        if self._body is not None:
            raw = await read_body(receive, self._max_body)
            body = _read_pairs(raw, self._body, "body") if self._is_form else read_json(raw, self._body)
        return Call(scope, exchange, scope.get("path_params", {}), body, query, receive)


def read_json(raw: bytes, kind: type[Any]) -> Any:
    """A JSON body as a value of `kind`. Raises `BadRequest`, which names the place."""
    read_fields(raw)  # refuses what is no object, or has a member twice: which of the two was meant?
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"body: {error}") from error


def _read_pairs(raw: bytes, kind: type[Any], place: str) -> Any:
    """A form or a query, in which each name stands once (as RFC 6749, 3.2 wants it) and has a value."""
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise BadRequest(f"{place}: not of the form name=value&name=value") from error
    values = dict(pairs)
    if len(values) < len(pairs):
        raise BadRequest(f"{place}: a field is given more than once")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{place}: {error}") from error


async def _send(scope: Scope, send: Send, reply: Reply) -> None:
    headers = list(reply.headers)
    body = b""
    if reply.value is not None:
        body = msgspec.json.encode(reply.value)
        headers.append((b"content-type", b"application/json"))
    if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
