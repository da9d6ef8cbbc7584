"""Gives every request an id that is the gate's own, and tells it to both sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..exchange import exchange_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
_USABLE = re.compile(rb"[!-~]{1,128}")
"""What is passed on of a client's: visible ASCII that no log has to escape or cut."""


class RequestId:
    """Passes on the client's `X-Request-ID`, or the gate's own where there is none that is usable.

    The answer carries the same id, unless the app answers with another, and the gate's own as
    `X-Gate-Request-ID`: a UUID (llama-cpp-python refuses anything else), under which usage is recorded. A
    client that sends one id twice is charged twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own = shown = exchange_of(scope).id.encode()
        came = [value for name, value in scope["headers"] if name == HEADER]
        if len(came) == 1 and _USABLE.fullmatch(came[0]):
            shown = came[0]
        else:
            others = [pair for pair in scope["headers"] if pair[0] != HEADER] if came else scope["headers"]
            scope = {**scope, "headers": [*others, (HEADER, own)]}

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == HEADER for name, _ in headers):
                    headers.append((HEADER, shown))
                headers.append((b"x-gate-request-id", own))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, identified)
