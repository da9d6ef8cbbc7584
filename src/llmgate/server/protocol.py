"""uvicorn's HTTP/1.1 protocol with the limits that it does not have: the size of a head, and patience.

uvicorn's httptools protocol collects a request's head without bound, waits for ever for its end and for a
body that stopped coming, does not ask for a Host, and forgets to tell a request that its client has left
if the client had pipelined another one. A client could take all memory or all connections that way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import BadRequest, Refusal, Unavailable, openai_shape


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`max_header` in bytes; `patience` in seconds, for a whole head and for each piece of a body."""

    max_header: int
    patience: float
    max_connections: int


class GateProtocol(HttpToolsProtocol):
    """Answers 431 to a head that is too large, 408 to a client that keeps us waiting, 503 where it is full.

    No such answer is ever written into another one: where an earlier request of the connection is still
    being answered, the connection just closes.
    """

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._owes = "head"  # what we wait for from the client: "head", "body" or, while we answer, ""
        self._since = 0.0
        self._head = 0  # bytes seen of a head that is not complete
        self._said: Refusal | None = None  # why the parser was stopped
        self._refused = False
        self._running: Any = None  # the cycle whose app runs; with pipelining `self.cycle` is a later one
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self._limits.patience, self._look)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(Unavailable("The gate has too many open connections. Try again later."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse a head that has grown too large."""
        if self._refused:
            return
        if self._owes == "body":
            if not self.cycle.response_complete:  # what comes after the answer is only waited for so long
                self._since = self.loop.time()
        else:
            if not self._owes:
                self._expect_head()
            self._head += len(data)
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.patience, self._look)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._head > self._limits.max_header and not self._refused:
            self._refuse(self._too_large())

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._said or BadRequest("The request is not HTTP/1.1.", code="bad_request"))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request as if nothing had been offered (RFC 9110 7.8): the parser has left out its body.

        Some clients offer h2c with every first request.
        """
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join([*head, b"", rest]))

    def on_message_begin(self) -> None:
        """A request begins, maybe right behind another one."""
        super().on_message_begin()
        if self._owes != "head":
            self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there: what it really was in size counts, not what came along with it."""
        if self._head > self._limits.max_header:
            self._head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if self._head > self._limits.max_header:
                self._stop(self._too_large())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(BadRequest("This gate is no tunnel."))
            return
        if [name for name, _ in self.headers].count(b"host") != 1 and self.parser.get_http_version() == "1.1":
            self._stop(BadRequest("A request has exactly one Host header."))  # RFC 9112 3.2
        self._head = 0
        self._owes = "body"
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole, unless the parser believes that another protocol follows."""
        if self.parser.should_upgrade():
            return
        self._owes = ""
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _expect_head(self) -> None:
        self._owes = "head"
        self._since = self.loop.time()
        self._head = 0

    def _stop(self, refusal: Refusal) -> None:
        """Stop the parser from within its callback."""
        self._said = refusal
        raise refusal

    def _too_large(self) -> Refusal:
        message = f"The head of the request is over the limit of {self._limits.max_header} bytes."
        return BadRequest(message, status=431, code="headers_too_large")

    def _look(self) -> None:
        """See how long the client has kept us waiting."""
        self._timer = None
        if not self._owes or self.transport.is_closing():
            return
        if self._refused or (self._owes == "head" and self.cycle is None and not self._head):
            self.transport.close()
            return
        if self.flow.read_paused:  # it is we who do not listen
            self._since = self.loop.time()
        left = self._since + self._limits.patience - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self._refuse(BadRequest("The request came too slowly.", status=408, code="request_timeout"))

    def _refuse(self, refusal: Refusal) -> None:
        """Say no and close, but listen on for a while: closing at once could lose the answer on its way."""
        cycle = self._running
        answering = cycle is not None and not cycle.response_complete
        its_body = cycle is self.cycle and self._owes == "body" and answering and not cycle.response_started
        can_answer = its_body or not answering
        self._refused = True
        self._owes = "head"
        self._tell_gone()
        if not can_answer or self.transport.is_closing():
            self.transport.close()
            return
        self.transport.write(_wire(refusal))
        self.transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self._limits.patience, self._look)

    def _tell_gone(self) -> None:
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()


def _wire(refusal: Refusal) -> bytes:
    status, headers, body = openai_shape(refusal)
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
    return b"\r\n".join(lines)
