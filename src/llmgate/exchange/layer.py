"""What layers that go by the body of a request have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import ClientGone, Refusal, answer
from .record import exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from .record import Exchange

MAX_BODY = 16 * 1024 * 1024


class StackLayer:
    """A layer whose work costs no coroutine of its own: `within_stack` returns what the app below returns.

    Our stacks call that. Servers get a coroutine, by which they tell an app of ASGI 3 from older ones.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.within_stack(scope, receive, send)

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI, and what is to be awaited."""
        raise NotImplementedError


class BodyLayer(StackLayer):
    """A layer around `app` that sees what a request asks a model for; what asks none passes it by.

    The body is read and parsed here (up to `max_body` bytes) unless a layer above has done so.
    """

    collects_edits = True

    def __init__(self, app: ASGIApp, *, max_body: int = MAX_BODY) -> None:
        self.app = app
        self._max_body = max_body
        below = getattr(app, "__self__", app)
        self._below: Callable[[Exchange, Scope, Send], Awaitable[None]] | None = None
        if isinstance(below, BodyLayer) and type(below).within_stack is BodyLayer.within_stack:
            self._below = below.see

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Most layers find the body read."""
        if scope["type"] != "http" or endpoint_of(scope["method"], scope["path"]) is Endpoint.OTHER:
            return self.app(scope, receive, send)
        exchange = exchange_of(scope)
        if exchange.has_read(receive):
            return self.see(exchange, scope, send)
        return self._read(exchange, scope, receive, send)

    def see(self, exchange: Exchange, scope: Scope, send: Send) -> Awaitable[None]:
        """What the layer does, now that `exchange.model_request` is there."""
        return self.go_on(exchange, scope, send)

    def go_on(self, exchange: Exchange, scope: Scope, send: Send) -> Awaitable[None]:
        """Hand the request to `app`; where that is such a layer, too, there is nothing left to find out for it."""
        if self._below is not None:
            return self._below(exchange, scope, send)
        return self.app(exchange.hand_on(scope, self.app), exchange.receive, send)

    async def _read(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await exchange.read(scope, receive, self._max_body)
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            return
        else:
            await self.see(exchange, scope, send)
