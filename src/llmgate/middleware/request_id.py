"""Gives every request an id that is the gate's own, and tells it to both sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..exchange import exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..errors import Header

HEADER = b"x-request-id"
GATE_HEADER = b"x-gate-request-id"
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
        headers = scope["headers"]
        seen = [pair for pair in headers if pair[0] == HEADER]
        if len(seen) == 1 and _USABLE.fullmatch(seen[0][1]):
            shown = seen[0][1]
        else:
            others = [pair for pair in headers if pair[0] != HEADER] if seen else headers
            scope = {**scope, "headers": [*others, (HEADER, own)]}

        def identified(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_ids(message.get("headers", ()), shown, own)}
            return send(message)

        await self.app(scope, receive, identified)


def _with_ids(headers: Iterable[Header], shown: bytes, own: bytes) -> list[Header]:
    for name, _ in headers:
        if len(name) == len(HEADER) and name.lower() == HEADER:
            return [*headers, (GATE_HEADER, own)]
    return [*headers, (HEADER, shown), (GATE_HEADER, own)]
