"""Bounds what request bodies take of a process's memory, once what may be refused without them has been asked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..errors import RateLimited, Unavailable
from ..exchange import StackLayer, exchange_of, push_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..exchange import Exchange

_OF_BODY = frozenset({b"content-length", b"content-encoding"})
UNCOUNTED = 64 * 1024
"""Bytes: bodies up to this size are bounded by the number of connections."""


class BodiesInMemory:
    """Bytes of bodies that a process has in memory, in all and by caller."""

    def __init__(self) -> None:
        self.total = 0
        self._by_caller: Counter[str] = Counter()

    def take(self, caller: str, size: int, *, limit: int | None, caller_limit: int | None) -> None:
        """Count `size` bytes more. Raises `Unavailable` or `RateLimited` if they would be too many."""
        if caller_limit is not None and self._by_caller[caller] + size > caller_limit:
            raise RateLimited(
                f"Request bodies of this caller take over {caller_limit} bytes at once. "
                "Wait until some are answered.",
                retry_after=1,
            )
        if limit is not None and self.total + size > limit:
            message = f"Request bodies take over {limit} bytes at the moment. Try again later."
            raise Unavailable(message, headers=[(b"retry-after", b"1")])
        self.total += size
        self._by_caller[caller] += size

    def give_back(self, caller: str, size: int) -> None:
        """They are gone."""
        self.total -= size
        self._by_caller[caller] -= size
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class BodyBudget(StackLayer):
    """Counts bodies over 64 kB from their announcement until their answer begins, each request's once; compressed ones
    by what they are decoded to.

    Over `caller_limit` bytes of one key (or user, or address) `receive` raises `RateLimited` for the next one, over
    `limit` of all `Unavailable`. Bodies over `max_body` bytes are not counted, as who reads them refuses them, nor
    those of requests that are not `counted`, as they stream through.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int = 16 * 1024 * 1024,
        bodies: BodiesInMemory | None = None,
        counted: Callable[[Scope], bool] = lambda _: True,
        limit: int | None = None,
        caller_limit: int | None = None,
    ) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        self._max_body = max_body
        self._bodies = bodies or BodiesInMemory()
        self._is_counted = counted
        self._limits = {"limit": limit, "caller_limit": caller_limit}

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        announced, compressed = _announced(scope)
        small = announced is not None and announced <= UNCOUNTED and not compressed  # most pay for no budget
        if small or not self._is_counted(scope):
            return self.app(scope, receive, send)
        return self._counted(scope, receive, send, announced)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, announced: int | None) -> None:
        exchange = exchange_of(scope)
        if self._bodies in exchange.counted_by:
            await self.app(scope, receive, send)
            return
        exchange.counted_by |= {self._bodies}
        body = _Body(self._bodies, self._limits, _caller(exchange, scope))
        exchange.takes_memory = body.take
        whole = announced if announced is not None and announced <= self._max_body else None
        try:
            await self.app(scope, body.receive_of(receive, announced, whole), _Releasing(body, send))
        finally:
            body.release()


class _Body:
    """What the body of one request takes."""

    def __init__(self, bodies: BodiesInMemory, limits: dict[str, int | None], caller: str) -> None:
        self._bodies = bodies
        self._limits = limits
        self._caller = caller
        self._taken = 0

    def take(self, size: int) -> None:
        self._bodies.take(self._caller, size, **self._limits)
        self._taken += size

    def release(self) -> None:
        if self._taken:
            self._bodies.give_back(self._caller, self._taken)
            self._taken = 0

    def receive_of(self, receive: Receive, announced: int | None, whole: int | None) -> Receive:
        """Counts a body as it is announced, or, of no announced length, as it comes."""

        async def counted() -> Message:
            nonlocal whole
            if whole:
                size, whole = whole, 0
                self.take(size)
            message = await receive()
            if announced is None and message["type"] == "http.request" and message.get("body"):
                self.take(len(message["body"]))
            return message

        return counted


class _Releasing:
    """A `send`: once the answer begins, the body has been read and passed on."""

    __slots__ = ("_body", "_send", "push")

    def __init__(self, body: _Body, send: Send) -> None:
        self._body = body
        self._send = send
        self.push = push_of(send)  # a head went before any piece

    def __call__(self, message: Message) -> Awaitable[None]:
        self._body.release()
        return self._send(message)


def _announced(scope: Scope) -> tuple[int | None, bool]:
    """How long the body is, and whether it is another length that counts, once it is decoded."""
    length, compressed = None, False
    for name, value in scope["headers"]:
        if name not in _OF_BODY:
            continue
        if name == b"content-length":
            length = int(value) if value.isdigit() else None
        else:
            compressed = True
    return length, compressed


def _caller(exchange: Exchange, scope: Scope) -> str:
    principal = exchange.principal
    if principal is None:
        client = scope.get("client")
        return f"ip {client[0]}" if client else "-"
    return f"key {principal.key_id}" if principal.key_id is not None else f"user {principal.user_id}"
