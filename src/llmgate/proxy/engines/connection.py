"""One HTTP/1.1 client connection (RFC 9112) as an asyncio protocol: one exchange at a time, in and out."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from .base import FirstByteTimedOut, IdleTimedOut, UpstreamBroke
from .response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...errors import Header
    from .base import Origin, Timeouts, UpstreamRequest

HIGH_WATER = 256 * 1024
"""Bytes that wait for a slow reader before the upstream is no longer read from."""
HEAD_LIMIT = 64 * 1024
"""Bytes that may come without one byte of body among them: a head, interim heads, trailers."""
JOINED = 32 * 1024
"""Bodies up to this size are copied behind the head: cheaper than a vectored write."""

REST = 0.05
"""Seconds for which a connection is not used again after an event stream: llama.cpp's server announces
keep-alive and closes all the same, and a POST sent into that moment could not be repeated."""
EVENT_STREAM = b"text/event-stream"

TELLING = frozenset({len(b"content-type"), len(b"keep-alive")})
"""Lengths of the names of headers that a connection cares about itself."""
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout=(\d{1,6})")


class Pool(Protocol):
    """Whom a connection tells about its life."""

    def opened(self, connection: Connection) -> None:
        """It stands; from now on its deadline is watched."""

    def idle(self, connection: Connection) -> None:
        """Its exchange is over and another may follow."""

    def ended(self, connection: Connection) -> None:
        """It can take no other request."""

    def closed(self, connection: Connection) -> None:
        """Its socket is gone."""


class Connection(asyncio.Protocol):
    """A connection to `origin`. `deadline` is on the loop's clock: when what it is at has taken too long."""

    __slots__ = (
        "_bodyless", "_headers", "_keep_alive", "_parser", "_pump", "_reading", "_response", "_streamed", "_surplus",
        "_timeouts", "_without_body", "_writable", "answered", "deadline", "keep_alive_hint", "loop", "origin",
        "pool", "rests_until", "time", "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    _timeouts: Timeouts

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.origin = origin
        self.loop = loop
        self.time = loop.time
        self.deadline = float("inf")
        self.rests_until = 0.0
        self.keep_alive_hint: int | None = None
        self.answered = False
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._headers: list[Header] = []
        self._bodyless = False  # the answer to HEAD ends with its head, whatever its framing says
        self._without_body = 0  # bytes that came since the last byte of a body
        self._keep_alive = False
        self._streamed = False  # the answer was an event stream
        self._surplus = False  # something came after the answer
        self._reading = True
        self._pump: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # Asking.

    async def exchange(self, request: UpstreamRequest, head: bytes, timeouts: Timeouts) -> Response:
        """Write the request, return its answer when the head is here; raises `UpstreamError`."""
        transport = self.transport
        self.answered = self._keep_alive = self._streamed = self._surplus = False
        if transport.is_closing():
            raise UpstreamBroke(f"{self.origin.url}: the connection closed before it was used", sent=False)
        response = self._response = Response(self)
        self._timeouts = timeouts
        self._bodyless = request.method == "HEAD"
        self._without_body = 0
        self.deadline = self.time() + timeouts.first_byte
        body = request.body
        if not isinstance(body, bytes):
            transport.write(head)
            self._pump = self.loop.create_task(self._send_body(body, request.length))
        elif len(body) <= JOINED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        try:
            while not response.status:
                await response.news()
        except asyncio.CancelledError:
            response.abort()
            raise
        return response

    async def _send_body(self, body: AsyncIterator[bytes], length: int | None) -> None:
        """Write `body` as it comes. It may outlive the head of the answer, but not the answer."""
        sent = 0
        try:
            async for piece in body:
                sent += len(piece)
                if length is not None:
                    self.transport.write(piece)
                elif piece:
                    self.transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                if self._writable is not None:
                    await self._writable
                if not self.answered:
                    self.deadline = self.time() + self._timeouts.first_byte
        except Exception as error:
            self.fail(error)  # whoever waits for the answer gets it
            return
        finally:
            self._pump = None
        if length is None:
            self.transport.write(b"0\r\n\r\n")
        elif sent != length:
            self.fail(ValueError(f"a body of {length} bytes was announced, {sent} came"))

    def resume_reading(self) -> None:
        """Read on, if we had stopped; the reader has caught up."""
        if not self._reading:
            self._reading = True
            self.deadline = self.time() + self._timeouts.idle
            self.transport.resume_reading()

    # Ending.

    def overdue(self) -> bool:
        """Whether the deadline is past. A reader that holds us up is not the upstream's fault."""
        return self._reading and self.time() >= self.deadline

    def expire(self) -> None:
        """The deadline is past: end what is going on."""
        response = self._response
        if response is None:
            self.close()
        elif response.status:
            self.fail(
                IdleTimedOut(f"{self.origin.url}: silent for {self._timeouts.idle:g} s within an answer")
            )
        else:
            self.fail(
                FirstByteTimedOut(f"{self.origin.url}: no answer within {self._timeouts.first_byte:g} s")
            )

    def fail(self, error: Exception) -> None:
        """End the exchange with `error` and the connection with it, at once."""
        self._end_exchange(error)
        self.pool.ended(self)
        self.transport.abort()

    def close(self) -> None:
        """Close a connection that has nothing under way."""
        self.pool.ended(self)
        self.transport.close()

    def _end_exchange(self, error: Exception | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.detach(error)
        if self._pump is not None and self._pump is not asyncio.current_task():
            self._pump.cancel()

    def _finish(self) -> None:
        """The answer is complete: give the connection back if it can serve another request."""
        reusable = self._keep_alive and not self._surplus and self._pump is None
        self._end_exchange(None)
        if not reusable or self.transport.is_closing():
            self.close()
            return
        if self._bodyless:
            self._parser = httptools.HttpResponseParser(self)
        self.resume_reading()
        self.rests_until = self.time() + REST if self._streamed else 0.0
        self.pool.idle(self)

    def _lost(self, error: Exception | None) -> None:
        """The upstream closed, in order or with `error`. In order may be the end of an answer without framing."""
        self.pool.ended(self)
        response = self._response
        if response is None:
            return
        if (
            error is None
            and response.status
            and not any(name.lower() in FRAMING for name, _ in response.headers)
        ):
            self._end_exchange(None)
        else:
            where = "within its answer" if self.answered else "without an answer"
            self._end_exchange(
                UpstreamBroke(f"{self.origin.url}: closed {where}: {error or 'end of stream'}")
            )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        self.pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then act on what it found."""
        response = self._response
        if response is None:
            self.close()  # nobody asked: these bytes must never become the answer to the next request
            return
        self._without_body += len(data)
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not response.complete:
                self.fail(UpstreamBroke(f"{self.origin.url}: not HTTP/1.1: {error.__context__ or error}"))
                return
            self._surplus = True
        if response.complete:
            self._finish()
        elif self._without_body > HEAD_LIMIT:
            self.fail(UpstreamBroke(f"{self.origin.url}: more than {HEAD_LIMIT} bytes of headers"))
        elif response.status:
            self.deadline = self.time() + self._timeouts.idle
            if not response.wake():
                self._hold_back(response, len(data))

    def _hold_back(self, response: Response, size: int) -> None:
        response.backlog += size
        if self._reading and response.backlog > HIGH_WATER:
            self._reading = False
            self.transport.pause_reading()

    def eof_received(self) -> None:
        """The upstream sends no more; returning None lets the transport close."""
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lost(exc)
        self.resume_writing()
        self.pool.closed(self)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # httptools.HttpResponseParser

    def on_message_begin(self) -> None:
        """A final or interim (1xx) answer begins."""
        self._headers = []
        self.keep_alive_hint = None
        if self._response is None or self._response.complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or a trailer, which goes where nobody looks."""
        self._headers.append((name, value))
        if len(name) in TELLING:
            self._note(name.lower(), value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self._streamed = value.startswith(EVENT_STREAM)
        elif name == b"keep-alive" and (hint := KEEP_ALIVE_TIMEOUT.search(value)):
            self.keep_alive_hint = int(hint[1])

    def on_headers_complete(self) -> None:
        """The head of an answer is whole."""
        status = self._parser.get_status_code()
        response = self._response
        headers, self._headers = self._headers, []
        if status < 200 or response is None or response.complete:
            return
        if status > 599:
            raise ValueError(f"status {status}")
        if self._without_body > HEAD_LIMIT and sum(len(n) + len(v) for n, v in headers) > HEAD_LIMIT:
            raise ValueError(f"more than {HEAD_LIMIT} bytes of headers")
        response.headers = headers
        response.status = status
        if self._bodyless:
            self._complete(response)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunking."""
        self._without_body = 0
        response = self._response
        if response is None or response.complete:
            self._surplus = True
        else:
            response.pieces.append(body)

    def on_message_complete(self) -> None:
        """A final or interim answer is whole."""
        response = self._response
        if response is not None and response.status and not response.complete:
            self._complete(response)

    def _complete(self, response: Response) -> None:
        # httptools knows about keep-alive only until the message is over.
        self._keep_alive = self._parser.should_keep_alive()
        response.complete = True
