"""Reads the body of a request for all layers below, once what may be refused without it has been asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import ClientGone, Refusal, answer
from ..exchange import exchange_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def is_for_a_model(scope: Scope) -> bool:
    """Whether an HTTP request is one whose body is read; others stream through."""
    return endpoint_of(scope["method"], scope["path"]) is not Endpoint.OTHER


class ReadBody:
    """Reads and parses the body of a request to a model; layers below find it in the exchange.

    What they change is collected, and written once for each backend that is tried.
    """

    def __init__(self, app: ASGIApp, *, max_body: int = 16 * 1024 * 1024) -> None:
        self.app = app
        self._max_body = max_body
        self.collects_edits = getattr(app, "collects_edits", False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not is_for_a_model(scope):
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        try:
            await exchange.read(scope, receive, self._max_body)
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            pass
        else:
            await self.app(exchange.hand_on(scope, self.app), exchange.receive, send)
