"""uvicorn's HTTP/1.1 protocol with two limits it does not have: the size of a head, and patience.

uvicorn's httptools protocol collects a request's head without bound and waits for its end for ever, and
waits for ever for a body that stopped coming. A client could take all memory or all connections that way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\nconnection: close\r\n\r\n"
    b"Request header fields too big.\n"[:30]
)
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 24\r\nconnection: close\r\n\r\n"
    b"Request came too slowly."
)


class GateProtocol(HttpToolsProtocol):
    """Answers 431 to a head over `max_header` bytes, and closes on a client that keeps us waiting."""

    def __init__(self, *args: Any, max_header: int, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_header = max_header
        self._patience = patience
        self._head = 0  # bytes seen of a head that is not complete
        self._awaited = True  # the client owes us the rest of a request
        self._heard = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self._patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse a head that has grown too large."""
        self._head += len(data)
        if self._awaited:
            self._heard = self.loop.time()
        super().data_received(data)
        if self._head > self._max_header and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins: its end is awaited."""
        super().on_message_begin()
        if not self._awaited:
            self._awaited = True
            self._heard = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._patience, self._look)

    def on_headers_complete(self) -> None:
        """The head is there: what it really was in size counts, not what came along with it."""
        if self._head > self._max_header:
            self._head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if self._head > self._max_header:
                return
        self._head = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._awaited = False
        super().on_message_complete()

    def _look(self) -> None:
        """See how long the client has been silent while its request was not whole."""
        self._timer = None
        if not self._awaited or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is we who do not listen
            self._heard = self.loop.time()
        left = self._heard + self._patience - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def protocol_with(*, max_header: int, patience: float) -> Callable[..., GateProtocol]:
    """A protocol factory as uvicorn takes it. `max_header` in bytes, `patience` in seconds."""

    class _Protocol(GateProtocol):
        def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, max_header=max_header, patience=patience, **kwargs)

    return _Protocol
