"""Measures requests on their way through: how many, how long, how they were answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..exchange import exchange_of, sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..exchange import Exchange
    from ..observability.access_log import AccessLog
    from ..observability.metrics import Instruments
    from ..observability.metrics.instruments import Distribution


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
        sent = sending(send)
        sent.observer = _Measured(exchange, self._instruments.gaps(exchange.route), timer)
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


class _Measured:
    """One answer on its way out: notes its status, its first byte, its end, and the gaps between its pieces."""

    __slots__ = ("_exchange", "_gaps", "_last", "_timer")

    def __init__(self, exchange: Exchange, gaps: Distribution, timer: Callable[[], float]) -> None:
        self._exchange = exchange
        self._gaps = gaps
        self._timer = timer
        self._last: float | None = None

    def begins(self, status: int) -> None:
        self._exchange.status = status

    def piece(self, body: bytes, *, more: bool) -> None:
        if body:
            now, last = self._timer(), self._last
            if last is not None:
                self._gaps.observe(now - last)
            elif self._exchange.first_byte is None:
                self._exchange.first_byte = now
            self._last = now
        if not more:
            self._exchange.complete = True
