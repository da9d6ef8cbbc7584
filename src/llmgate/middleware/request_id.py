"""Gives every request an id that is the gate's own, and tells it to both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exchange import exchange_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"


class RequestId:
    """Adds `X-Request-ID` to the request, if the client sent none, and to the answer, if the app sent none.

    The id is a UUID (llama-cpp-python refuses anything else). Usage is always recorded under the gate's own
    id, which goes out as `X-Gate-Request-ID`: a client that sends the same id twice is charged twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own = exchange_of(scope).id.encode()
        if not any(name == HEADER for name, _ in scope["headers"]):
            scope = {**scope, "headers": [*scope["headers"], (HEADER, own)]}

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == HEADER for name, _ in headers):
                    headers.append((HEADER, own))
                headers.append((b"x-gate-request-id", own))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, identified)
