"""One HTTP/1.1 client connection (RFC 9112) as an asyncio protocol: one exchange at a time, in and out."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from .base import FirstByteTimedOut, IdleTimedOut, UpstreamBroke
from .response import Response
from .response_parser import MalformedResponse, ResponseParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .base import Origin, Timeouts, UpstreamRequest

HIGH_WATER_BYTES = 256 * 1024
"""What waits for a slow reader before the upstream is no longer read from."""
JOINED_BYTES = 32 * 1024
"""Bodies up to this size are copied behind the head: cheaper than a vectored write."""
STREAM_REUSE_PAUSE_S = 0.05
"""For so long a connection is not used again after an event stream: llama.cpp's server announces keep-alive and
closes all the same, and a POST sent into that moment could not be repeated."""


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
        "_parser", "_pump", "_reading", "_response", "_timeouts", "_writable", "deadline", "loop", "origin", "pool",
        "reusable_at", "time", "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    _timeouts: Timeouts

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.origin = origin
        self.loop = loop
        self.time = loop.time
        self.deadline = inf
        self.reusable_at = 0.0
        self._parser = ResponseParser()
        self._response: Response | None = None
        self._reading = True
        self._pump: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def answered(self) -> bool:
        """Whether some byte of an answer to the latest request has come."""
        return self._parser.begun

    @property
    def keep_alive_hint(self) -> int | None:
        """For how many seconds the upstream keeps the connection, as far as it has said so."""
        return self._parser.keep_alive_hint

    # Asking.

    async def exchange(self, request: UpstreamRequest, head: bytes, timeouts: Timeouts) -> Response:
        """Write the request, return its answer when the head is here; raises `UpstreamError`."""
        transport = self.transport
        response = self._response = Response(self)
        self._parser.expect(response, bodyless=request.method == "HEAD")
        if transport.is_closing():
            raise UpstreamBroke(f"{self.origin.url}: the connection closed before it was used", sent=False)
        self._timeouts = timeouts
        self.deadline = self.time() + timeouts.first_byte
        body = request.body
        if not isinstance(body, bytes):
            transport.write(head)
            self._pump = self.loop.create_task(self._send_body(body, request.length))
        elif len(body) <= JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        try:
            while not response.status:
                await response.changed()
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
            limits = self._timeouts
            seconds = limits.idle if self._parser.body_begun else max(limits.idle, limits.first_byte)
            self.fail(IdleTimedOut(f"{self.origin.url}: silent for {seconds:g} s within an answer"))
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
        self._parser.forget()
        if response is not None:
            response.detach(error)
        if self._pump is not None and self._pump is not asyncio.current_task():
            self._pump.cancel()

    def _finish(self) -> None:
        """The answer is complete: give the connection back if it can serve another request."""
        parser = self._parser
        reusable = parser.keep_alive and not parser.surplus and self._pump is None
        self._end_exchange(None)
        if not reusable or self.transport.is_closing():
            self.close()
            return
        if not self._reading:
            self.resume_reading()
        self.reusable_at = self.time() + STREAM_REUSE_PAUSE_S if parser.event_stream else 0.0
        self.pool.idle(self)

    def _lost(self, error: Exception | None) -> None:
        """The upstream closed, in order or with `error`. In order may be the end of an answer without framing."""
        self.pool.ended(self)
        response = self._response
        if response is None:
            return
        if error is None and response.status and not response.framed:
            self._end_exchange(None)
            return
        where = "within its answer" if self.answered else "without an answer"
        self._end_exchange(UpstreamBroke(f"{self.origin.url}: closed {where}: {error or 'end of stream'}"))

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
        parser = self._parser
        try:
            parser.feed(data)
        except MalformedResponse as error:
            self.fail(UpstreamBroke(f"{self.origin.url}: {error}"))
            return
        if response.complete:
            self._finish()
        elif response.status:
            deadline = self.time() + self._timeouts.idle
            # A head may come early (a queue, a long prompt): what the first byte may take still holds.
            self.deadline = deadline if parser.body_begun else max(deadline, self.deadline)
            if not response.arrived():
                self._hold_back(response, len(data))

    def _hold_back(self, response: Response, size: int) -> None:
        response.backlog += size
        if self._reading and response.backlog > HIGH_WATER_BYTES:
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
