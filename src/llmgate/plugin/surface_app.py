"""What holds for all of a surface: its headers, CORS, its observer, and what follows from its operations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..errors import MethodNotAllowed
from ..exchange import exchange_of
from .cross_origin import SameOrigin
from .operation import AnyOperation, Operation, Surface

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..errors import Header
    from .operation import Observe

log = logging.getLogger("llmgate")


class Observed:
    """Tells `observe` of every request to `app`, before the last of its answer leaves: who has it can rely on that.

    Of a request without a whole answer it is told when the request ends, with a status of 0 if none was sent. A
    client that leaves meanwhile cuts no observer short.
    """

    def __init__(self, app: ASGIApp, *, observe: Observe) -> None:
        self.app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, told = 0, False

        async def tell() -> None:
            nonlocal told
            if not told:
                told = True
                await _to_its_end(self._tell(scope, status))

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                await tell()
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            await tell()

    async def _tell(self, scope: Scope, status: int) -> None:
        exchange = exchange_of(scope)
        try:
            await self._observe(scope, exchange, status)
        except Exception:  # who watches must not spoil what was answered
            log.exception("request %s: the surface's observer failed", exchange.id)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end; if the caller is cancelled meanwhile, that is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Headed:
    """Puts `headers` on every answer of `app`, each where there is none of its name."""

    def __init__(self, app: ASGIApp, *, headers: Iterable[Header]) -> None:
        self.app = app
        self._headers = [(name.lower(), value) for name, value in headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def heading(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                headers += [pair for pair in self._headers if pair[0] not in names]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, heading)


def own_origin(surface: Surface) -> Middleware:
    """Keeps out what pages of other origins send, unless the surface lets them call."""
    return Middleware(SameOrigin, trusted=surface.cors.origins if surface.cors is not None else ())


def surface_layers(surface: Surface) -> list[Middleware]:
    """What holds for everything of `surface`, outside of all that could refuse a request: that is seen, too."""
    layers = [] if surface.cors is None else [surface.cors.middleware]
    if surface.headers:
        layers.append(Middleware(Headed, headers=surface.headers))
    if surface.observe is not None:
        layers.append(Middleware(Observed, observe=surface.observe))
    return layers


def operations_of(surface: Surface) -> Iterator[AnyOperation]:
    """The operations of `surface` and what follows from them: paths with a slash more, and preflights."""
    operations = [each for declared in surface.operations for each in _alike(declared, surface)]
    yield from operations
    if surface.cors is not None:
        methods: dict[str, set[str]] = {}
        for operation in operations:
            methods.setdefault(operation.path, set()).add(operation.method)
        for path, taken in methods.items():
            if "OPTIONS" not in taken:
                yield Operation(method="OPTIONS", path=path, app=_Refusing(path, taken))


def _alike(operation: AnyOperation, surface: Surface) -> Iterator[AnyOperation]:
    yield operation
    if surface.slash_alike and not operation.path.endswith(":path}") and operation.path.strip("/"):
        path = operation.path.removesuffix("/") if operation.path.endswith("/") else f"{operation.path}/"
        yield operation.at(path)


class _Refusing:
    """The app of OPTIONS where it is no preflight, which CORS answers further out."""

    def __init__(self, path: str, methods: set[str]) -> None:
        self._path = path
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise MethodNotAllowed(f"{self._path} does not take OPTIONS.", allowed=self._methods)
