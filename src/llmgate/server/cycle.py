"""One request and its answer: the `receive` that its app is given, and as its `send` the cycle itself."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Iterable

    from starlette.types import Message, Scope
    from uvicorn.server import ServerState

    from ..errors import Header

log = logging.getLogger("llmgate.server")

JOINED_BYTES = 32 * 1024
"""Pieces up to this size are copied together with their framing: cheaper than a vectored write."""
CROWDED_BYTES = 8 * 1024
"""How much of a body waits, from which on it is worth to ask whether the client is still to be read from."""
STATUSES_WITHOUT_BODY = frozenset({204, 304})
CR, LF = b"\r", b"\n"
FRAMING_LENGTHS = frozenset(map(len, (b"content-length", b"transfer-encoding", b"connection")))
"""Lengths of the names of headers that are looked at."""
END = (b"", b"")
"""Joined behind the lines of a head, the empty line that ends it."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BARE_500 = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\nconnection: close\r\n\r\n"
)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


STATUS_LINES = {status: b"HTTP/1.1 %d %b" % (status, _phrase(status)) for status in range(200, 600)}


class Connection(Protocol):
    """What a cycle asks of the connection that its request came on, and tells it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    congested: bool
    """The client is slow to take what was written."""
    reading: bool
    server_state: ServerState
    """Whose `default_headers` go before those of every answer."""
    logs_access: bool
    """`answer_begins` wants to be told."""

    async def changed(self) -> None:
        """Wait until something has come, can be written, or has ended."""

    def notify(self) -> None:
        """There is something new for those who wait."""

    def apply_backpressure(self) -> None:
        """Read on, or do not, by how much waits for its app."""

    def body_wanted(self) -> None:
        """The app asks for the first of a body; its client's time begins."""

    def answer_begins(self, status: int) -> None:
        """The running request gets an answer."""

    def answered(self) -> None:
        """The running request has its answer."""

    def close_unfinished(self, cycle: Cycle) -> None:
        """Close before the end of an answer, in a way that does not look like its end."""


class Cycle:
    """A request of `connection` from its head to the end of its answer.

    `received` says that the request is here to its end, `started` and `complete` how far its answer is,
    `disconnected` that nobody is there to take it. `waiting` bytes of its body have come and not been asked for.
    """

    __slots__ = (
        "_chunked", "_connection", "_eof_given", "_expects_continue", "_head", "_http10", "_pieces", "_remaining",
        "_without_body", "complete", "disconnected", "keep_alive", "received", "scope", "started", "waiting",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_continue: bool
    ) -> None:
        self.scope: Scope | None = scope  # until it is given to the app
        self.keep_alive = keep_alive
        self.received = False
        self.waiting = 0
        self.started = False
        self.complete = False
        self.disconnected = False
        self._connection = connection
        self._http10 = scope["http_version"] == "1.0"
        self._expects_continue = expects_continue  # an interim answer before it sends its body
        self._pieces: list[bytes] = []
        self._eof_given = False  # the app has been given the end of the body
        self._head = b""  # of the answer, as long as it waits for a first piece to go out with
        self._without_body = scope["method"] == "HEAD"
        self._chunked = False
        self._remaining = 0.0  # bytes that the answer still has to have

    @property
    def unframed(self) -> bool:
        """Whether the end of the connection would look like that of the answer."""
        return self._remaining == math.inf

    @property
    def body_due(self) -> bool:
        """Whether it is the client's turn to send the body: not while it waits for `100 Continue`."""
        return not self.received and not (self._expects_continue and not self.waiting)

    # What the connection tells.

    def feed(self, piece: bytes) -> None:
        """A piece of the body has come."""
        if not (self.complete or self.disconnected):
            self._pieces.append(piece)
            self.waiting += len(piece)
            if self.waiting > CROWDED_BYTES:
                self._connection.apply_backpressure()
            self._connection.notify()

    def feed_eof(self) -> None:
        """The body has come to its end."""
        self.received = True
        self._connection.notify()

    def app_returned(self, task: asyncio.Task[None]) -> None:
        """The app has returned or failed; what it has left undone becomes a 500 or a connection that closes."""
        self._connection.server_state.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("an exception came out of the app", exc_info=error)
        if self.complete or self.disconnected:
            return
        if self.started or task.cancelled():
            self.flush()
            self._connection.close_unfinished(self)
            return
        if error is None:
            log.error("the app has returned without an answer")
        self._connection.transport.write(BARE_500 + (b"" if self._without_body else b"Internal Server Error"))
        self.keep_alive = False
        self._finish()

    # ASGI

    async def receive(self) -> Message:
        """The next of the body, at once if something of it is here; then the client's leaving, or the end."""
        if self._expects_continue:
            self._expects_continue = False
            if not (self.started or self.waiting or self.received or self.disconnected):
                self._connection.transport.write(CONTINUE)
            self._connection.body_wanted()
        while not (self.disconnected or self.complete):
            if self._pieces or (self.received and not self._eof_given):
                pieces, self._pieces = self._pieces, []
                self.waiting = 0
                self._eof_given = self.received
                if not self._connection.reading:
                    self._connection.apply_backpressure()
                body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                return {"type": "http.request", "body": body, "more_body": not self.received}
            await self._connection.changed()
        return {"type": "http.disconnect"}

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`.

        Write the next of the answer; waits while the client is slow to take it. Nothing once it is gone.

        Raises `RuntimeError` for what is out of turn, `ValueError` for what HTTP cannot say.
        """
        while self._connection.congested and not self.disconnected:
            await self._connection.changed()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()))
            self._connection.loop.call_soon(self.flush)
        else:
            raise RuntimeError(f"{kind}: not when started={self.started}, complete={self.complete}")

    def push(self, body: bytes) -> Awaitable[None] | None:
        """Write a piece of the answer that is not its last, now (None), or by what is returned where that cannot be."""
        if self._connection.congested or self.disconnected or self.complete or not self.started:
            return self({"type": "http.response.body", "body": body, "more_body": True})
        if self._chunked and 0 < len(body) <= JOINED_BYTES and not self._head:  # nearly every one
            self._connection.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        else:
            self._continue(body, more=True)
        return None

    def whole(self, status: int, headers: list[Header], body: bytes) -> Awaitable[None] | None:
        """Write an answer from its head to its end, now (None), or by what is returned where that cannot be."""
        if self._connection.congested or self.disconnected or self.started:
            return self._in_turn(status, headers, body)
        self._start(status, headers)
        self._continue(body, more=False)
        return None

    async def _in_turn(self, status: int, headers: list[Header], body: bytes) -> None:
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body, "more_body": False})

    def flush(self) -> None:
        """Send a head that no piece has come for: its client need not wait to know the status."""
        if self._head and not self.disconnected:
            self._connection.transport.write(self._head)
            self._head = b""

    def _start(self, status: int, headers: Iterable[Header]) -> None:
        """Make the head. It goes out with the first piece, if that comes before the loop turns."""
        if defaults := self._connection.server_state.default_headers:
            headers = [*defaults, *headers]
        fields = {name.lower(): value for name, value in headers if len(name) in FRAMING_LENGTHS}
        lines = [STATUS_LINES[status], *map(b": ".join, headers)]
        if self._expects_continue and not self.waiting and not self.received:
            self.keep_alive = False  # whether the body still comes, only the client knows (RFC 9110 10.1.1)
        if self._without_body or status in STATUSES_WITHOUT_BODY:
            self._without_body = True
        elif b"transfer-encoding" in fields:
            self._chunked = True
        elif (length := fields.get(b"content-length")) is not None:
            self._remaining = int(length)
        elif self._http10:
            self._remaining = math.inf  # the end of the connection is that of the body
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        if (connection := fields.get(b"connection")) and b"close" in connection.lower():
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close")
        lines += END
        head = b"\r\n".join(lines)
        ends = len(lines) - 1
        if head.count(LF) != ends or head.count(CR) != ends or 0 in head:
            raise ValueError("a line break inside a header would end the head, or begin another one")
        self._head = head
        self.started = True
        if self._connection.logs_access:
            self._connection.answer_begins(status)

    def _continue(self, body: bytes, *, more: bool) -> None:
        size = len(body)
        before, self._head, after = self._head, b"", b""
        if self._without_body:
            body = b""
        elif self._chunked:
            if size:
                before += b"%x\r\n" % size
                after = b"\r\n"
            if not more:
                after += b"0\r\n\r\n"
        else:
            self._remaining -= size
            if self._remaining < 0 or (not more and 0 < self._remaining < math.inf):
                self._head = before
                raise RuntimeError("the answer is not as long as its Content-Length says")
        if size <= JOINED_BYTES:
            self._connection.transport.write(before + body + after)
        else:
            self._connection.transport.writelines((before, body, after))
        if not more:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._pieces.clear()
        self.waiting = 0
        self._connection.answered()
