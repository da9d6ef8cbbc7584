"""One request and its answer: the `receive` and `send` that its app is given."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from starlette.types import Message, Scope

    from ..errors import Header
    from .protocol import GateProtocol

log = logging.getLogger("llmgate.server")

JOINED = 32 * 1024
"""Pieces up to this size are copied together with their framing: cheaper than a vectored write."""
CROWDED = 8 * 1024
"""Bytes of a body that wait, from which on it is worth to ask whether the client is still to be read from."""
WITHOUT_BODY = frozenset({204, 304})
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


class Cycle:
    """A request of `connection` from its head to the end of its answer.

    `whole` says that the request is here to its end, `started` and `complete` how far its answer is, `gone`
    that nobody is there to take it. `waiting` bytes of its body have come and not been asked for.
    """

    __slots__ = (
        "_chunked", "_connection", "_expects", "_head", "_http10", "_left", "_pieces", "_told", "_without_body",
        "complete", "gone", "keep_alive", "scope", "started", "waiting", "whole",
    )  # fmt: skip

    def __init__(self, connection: GateProtocol, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self.scope: Scope | None = scope  # until it is given to the app
        self.keep_alive = keep_alive
        self.whole = False
        self.waiting = 0
        self.started = False
        self.complete = False
        self.gone = False
        self._connection = connection
        self._http10 = scope["http_version"] == "1.0"
        self._expects = expects  # an interim answer before it sends its body
        self._pieces: list[bytes] = []
        self._told = False  # the app has been given the end of the body
        self._head = b""  # of the answer, as long as it waits for a first piece to go out with
        self._without_body = scope["method"] == "HEAD"
        self._chunked = False
        self._left = 0.0  # bytes that the answer still has to have

    @property
    def unframed(self) -> bool:
        """Whether the end of the connection would look like that of the answer."""
        return self._left == math.inf

    # What the connection tells.

    def take(self, piece: bytes) -> None:
        """A piece of the body has come."""
        if not (self.complete or self.gone):
            self._pieces.append(piece)
            self.waiting += len(piece)
            if self.waiting > CROWDED:
                self._connection.balance()
            self._connection.wake()

    def end(self) -> None:
        """The body has come to its end."""
        self.whole = True
        self._connection.wake()

    def ended(self, task: asyncio.Task[None]) -> None:
        """The app has returned or failed; what it has left undone becomes a 500 or a connection that closes."""
        connection = self._connection
        connection.all.ended(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("an exception came out of the app", exc_info=error)
        if self.complete or self.gone:
            return
        if self.started or task.cancelled():
            self.flush()
            connection.cut(self)
            return
        if error is None:
            log.error("the app has returned without an answer")
        connection.transport.write(BARE_500 + (b"" if self._without_body else b"Internal Server Error"))
        self.keep_alive = False
        self._finish()

    # ASGI

    async def receive(self) -> Message:
        """The next of the body, at once if something of it is here; then the client's leaving, or the end."""
        if self._expects:
            self._expects = False
            if not (self.started or self.waiting or self.whole or self.gone):
                self._connection.transport.write(CONTINUE)
        while not (self.gone or self.complete):
            if self._pieces or (self.whole and not self._told):
                pieces, self._pieces = self._pieces, []
                self.waiting = 0
                self._told = self.whole
                if not self._connection.reading:
                    self._connection.balance()
                body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                return {"type": "http.request", "body": body, "more_body": not self.whole}
            await self._connection.news()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write the next of the answer; waits while the client is slow to take it. Nothing once it is gone.

        Raises `RuntimeError` for what is out of turn, `ValueError` for what HTTP cannot say.
        """
        while self._connection.congested and not self.gone:
            await self._connection.news()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._continue(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"{kind}: not when started={self.started}, complete={self.complete}")

    def flush(self) -> None:
        """Send a head that no piece has come for: its client need not wait to know the status."""
        if self._head and not self.gone:
            self._connection.transport.write(self._head)
            self._head = b""

    def _start(self, status: int, headers: Iterable[Header]) -> None:
        """Make the head. It goes out with the first piece, if that comes before the loop turns."""
        headers = list(headers)
        fields = {name.lower(): value for name, value in headers}
        lines = [STATUS_LINES[status], *map(b": ".join, headers)]
        if self._without_body or status in WITHOUT_BODY:
            self._without_body = True
        elif b"transfer-encoding" in fields:
            self._chunked = True
        elif (length := fields.get(b"content-length")) is not None:
            self._left = int(length)
        elif self._http10:
            self._left = math.inf  # the end of the connection is that of the body
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        if b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close")
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if not head.count(b"\n") == head.count(b"\r") == len(lines) + 1 or b"\0" in head:
            raise ValueError("a line break inside a header would end the head, or begin another one")
        self._head = head
        self.started = True
        self._connection.loop.call_soon(self.flush)

    def _continue(self, body: bytes, more: bool) -> None:
        size = len(body)
        before, after = b"", b""
        if self._without_body:
            body = b""
        elif self._chunked:
            if size:
                before, after = b"%x\r\n" % size, b"\r\n"
            if not more:
                after += b"0\r\n\r\n"
        else:
            self._left -= size
            if self._left < 0 or (not more and 0 < self._left < math.inf):
                raise RuntimeError("the answer is not as long as its Content-Length says")
        if self._head:
            before, self._head = self._head + before, b""
        if size <= JOINED:
            self._connection.transport.write(b"%b%b%b" % (before, body, after))
        else:
            self._connection.transport.writelines((before, body, after))
        if not more:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._pieces.clear()
        self.waiting = 0
        self._connection.answered()
