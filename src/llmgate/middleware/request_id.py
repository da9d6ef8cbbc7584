"""Gives every request an id that is the gate's own, and tells it to both sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..exchange import StackLayer, exchange_of, sending

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"x-request-id"
GATE_HEADER = b"x-gate-request-id"
_USABLE = re.compile(rb"[!-~]{1,128}")
"""What is passed on of a client's: visible ASCII that no log has to escape or cut."""


class RequestId(StackLayer):
    """Passes on the client's `X-Request-ID`, or the gate's own where there is none that is usable.

    The answer carries the same id, unless the app answers with another, and the gate's own as
    `X-Gate-Request-ID`: a UUID (llama-cpp-python refuses anything else), under which usage is recorded. A
    client that sends one id twice is charged twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Not a coroutine of its own: every request passes here."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        own = shown = exchange_of(scope).id.encode()
        headers, came = scope["headers"], None
        for name, value in headers:
            if name == HEADER:
                came = value if came is None else b""  # of two none counts
        if came is not None and _USABLE.fullmatch(came):
            shown = came
        else:
            if came is not None:
                headers = [pair for pair in headers if pair[0] != HEADER]
            scope = {**scope, "headers": [*headers, (HEADER, own)]}
        sent = sending(send)
        sent.defaults += ((HEADER, shown),)
        sent.added += ((GATE_HEADER, own),)
        return self.app(scope, receive, sent)
