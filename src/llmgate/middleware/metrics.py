"""Measures requests on their way through: how many, how long, how they were answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..exchange import exchange_of, sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..observability.access_log import AccessLog
    from ..observability.metrics import Instruments


class Metrics:
    """Observes every request into `instruments` and, with `access_log`, writes a line for it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        instruments: Instruments,
        access_log: AccessLog | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._instruments = instruments
        self._access_log = access_log
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, timer = exchange_of(scope), self._timer
        gaps = self._instruments.gaps(exchange.route)
        last: float | None = None

        def measure(message: Message) -> None:
            nonlocal last
            if message["type"] == "http.response.body":
                if message.get("body"):
                    now = timer()
                    if last is not None:
                        gaps.observe(now - last)
                    elif exchange.first_byte is None:
                        exchange.first_byte = now
                    last = now
                exchange.complete = not message.get("more_body", False)
            elif message["type"] == "http.response.start":
                exchange.status = message["status"]

        sent = sending(send)
        sent.seen = measure

        in_flight = self._instruments.in_flight(exchange.route)
        in_flight.inc()
        try:
            await self.app(scope, receive, sent)
        finally:
            in_flight.dec()
            ended = timer()
            self._instruments.observe(exchange, ended)
            if self._access_log is not None:
                self._access_log.write(scope, exchange, ended)
