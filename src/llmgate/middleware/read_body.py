"""Reads the body of a request for all layers below, once what may be refused without it has been asked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import ClientGone, RateLimited, Refusal, Unavailable, answer
from ..exchange import exchange_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..exchange import Exchange

UNCOUNTED = 64 * 1024
"""Bytes: bodies up to this size are bounded by the number of connections."""


class BodyBudget:
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


class ReadBody:
    """Reads and parses the body of a request to a model; layers below find it in the exchange.

    What they change is collected, and written once for each backend that is tried. Bodies over 64 kB are counted
    in `budget` from their announcement until their answer begins: over `caller_limit` bytes of one key (or
    user, or address) the next is 429, over `limit` of all it is 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int = 16 * 1024 * 1024,
        budget: BodyBudget | None = None,
        limit: int | None = None,
        caller_limit: int | None = None,
    ) -> None:
        self.app = app
        self._max_body = max_body
        self._budget = budget or BodyBudget()
        self._limit = limit
        self._caller_limit = caller_limit
        self.collects_edits = getattr(app, "collects_edits", False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or endpoint_of(scope["method"], scope["path"]) is Endpoint.OTHER:
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        announced = _announced(scope)
        if announced is not None and announced <= UNCOUNTED:  # most are, and pay for no budget
            if await self._read(exchange, scope, receive, send):
                await self.app(exchange.hand_on(scope, self.app), exchange.receive, send)
            return
        counted = _Counted(self, exchange, scope)
        try:
            if await self._read(
                exchange, scope, counted.receive_of(receive, announced, self._max_body), send
            ):
                below = exchange.hand_on(scope, self.app)
                await self.app(below, exchange.receive, counted.send_of(send))
        finally:
            counted.release()

    async def _read(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> bool:
        """Read and parse; whether the request goes on."""
        try:
            await exchange.read(scope, receive, self._max_body)
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            pass
        else:
            return True
        return False


class _Counted:
    """What the body of one request takes of the budget."""

    def __init__(self, layer: ReadBody, exchange: Exchange, scope: Scope) -> None:
        self._layer = layer
        self._caller = _caller(exchange, scope)
        self._taken = 0

    def take(self, size: int) -> None:
        layer = self._layer
        layer._budget.take(self._caller, size, limit=layer._limit, caller_limit=layer._caller_limit)
        self._taken += size

    def release(self) -> None:
        if self._taken:
            self._layer._budget.give_back(self._caller, self._taken)
            self._taken = 0

    def receive_of(self, receive: Receive, announced: int | None, max_body: int) -> Receive:
        """Counts a body as it is announced, or, of no announced length, as it comes."""
        whole = (
            announced if announced is not None and announced <= max_body else None
        )  # else it is refused anyway

        async def counting() -> Message:
            nonlocal whole
            if whole is not None:
                whole, size = 0, whole
                if size:
                    self.take(size)
                return await receive()
            message = await receive()
            if announced is None and message["type"] == "http.request" and message.get("body"):
                self.take(len(message["body"]))
            return message

        return counting

    def send_of(self, send: Send) -> Send:
        """Once the answer begins, the body has gone upstream."""
        if not self._taken:
            return send

        async def releasing(message: Message) -> None:
            self.release()
            await send(message)

        return releasing


def _announced(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def _caller(exchange: Exchange, scope: Scope) -> str:
    principal = exchange.principal
    if principal is None:
        client = scope.get("client")
        return f"ip {client[0]}" if client else "-"
    return f"key {principal.key_id}" if principal.key_id is not None else f"user {principal.user_id}"
